// Threads of the text side. A thread that cannot be started, or work that throws on one, is an
// exception for the caller: it never ends the process.
#pragma once

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace lexforge::text {

// Joined when it goes. Throws std::runtime_error where the system starts no more of them.
template <typename... Call>
std::jthread start_thread(Call&&... call) {
  try {
    return std::jthread(std::forward<Call>(call)...);
  } catch (const std::system_error& error) {
    throw std::runtime_error(
        "no more threads can be started (" + error.code().message() +
        "); ask for fewer workers, or raise the limits of processes and memory");
  }
}

// work(part) for parts 0 .. parts - 1, at least one, each on a thread of its own. Throws what the
// first of those threw that did.
template <typename Work>
void run_parts(int64_t parts, const Work& work) {
  std::vector<std::exception_ptr> failures(parts);
  const auto guarded = [&](int64_t part) noexcept {
    try {
      work(part);
    } catch (...) {
      failures[part] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> workers;
    workers.reserve(parts);
    for (int64_t part = 1; part < parts; ++part) workers.push_back(start_thread(guarded, part));
    guarded(0);
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace lexforge::text
