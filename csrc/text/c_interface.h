// The C interface of the text side, which lexforge/_text calls through ctypes. There is no
// Python in it: one build serves every version.
//
// A function that can fail returns a status, and then the thread's last error says what was wrong.
// Objects and results are opaque pointers, each with a function that frees it. Memory that comes in
// is borrowed for the call: an address and a size. Counts, bounds and types are checked in
// lexforge/_text, and so is that no two threads use one reader at the same time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#define LEXFORGE_TEXT_API extern "C" __attribute__((visibility("default")))

namespace lexforge::text {

// What Python raises; the numbers are those of _EXCEPTIONS in lexforge/_text/library.py.
enum Status : int { kOk, kValueError, kIndexError, kOSError, kMemoryError, kRuntimeError };

// The status of the exception being handled, whose message and errno become the thread's last.
Status keep_error() noexcept;

// Everything that may throw runs in here.
template <typename Work>
int checked(const Work& work) noexcept {
  try {
    work();
    return kOk;
  } catch (...) {
    return keep_error();
  }
}

// The bytes of an array, as a result.
template <typename T>
std::unique_ptr<std::string> bytes_of(const std::vector<T>& values) {
  return std::make_unique<std::string>(reinterpret_cast<const char*>(values.data()),
                                       values.size() * sizeof(T));
}

// The words of a framed block (corpus.h), each followed by 0xFF.
std::vector<std::string_view> framed_words(std::string_view block, int64_t count);

}  // namespace lexforge::text
