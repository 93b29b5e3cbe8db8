#include "common/team.h"

#include <optional>
#include <thread>
#include <vector>

namespace lexforge {
namespace {

// Looks before a thread that waits gives its core away. Meetings are microseconds apart.
constexpr int kLooks = 4000;

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

bool Meeting::wait(bool well) {
  const int64_t met = held_.load(std::memory_order_relaxed);
  if (!well) ill_.store(true, std::memory_order_relaxed);
  if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
    // All have come, and nobody is at the next meeting yet.
    waiting_.store(0, std::memory_order_relaxed);
    well_[met % 2] = !ill_.exchange(false, std::memory_order_relaxed);
    held_.store(met + 1, std::memory_order_release);
    return well_[met % 2];
  }
  for (int looks = 0; held_.load(std::memory_order_acquire) == met; ++looks) {
    if (looks < kLooks) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
  return well_[met % 2];
}

void run_team(int64_t members, const std::function<void(const TeamMember&)>& work) {
  // How many there are is known when all have been started: they wait for it.
  std::atomic<int64_t> started{0};
  std::optional<Meeting> meeting;
  const auto member = [&](int64_t index) {
    started.wait(0);
    work({*meeting, index, started.load()});
  };
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(members - 1));
  try {
    while (static_cast<int64_t>(others.size()) + 1 < members) {
      others.emplace_back(member, static_cast<int64_t>(others.size()) + 1);
    }
  } catch (...) {  // the system gives no more, or no memory: the rest does it
  }
  meeting.emplace(static_cast<int64_t>(others.size()) + 1);
  started = static_cast<int64_t>(others.size()) + 1;
  started.notify_all();
  member(0);
  for (std::thread& other : others) other.join();
}

}  // namespace lexforge
