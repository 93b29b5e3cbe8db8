// Threads that work on one thing at the same time and wait for each other.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace lexforge {

// Where the members of a team meet.
class Meeting {
 public:
  explicit Meeting(int64_t members) : members_(members) {}

  // Returns when all members have called it as often: whether all is well with each of them. What
  // each wrote before, all see after.
  bool wait(bool well);

 private:
  const int64_t members_;
  alignas(64) std::atomic<int64_t> waiting_{0};
  std::atomic<bool> ill_{false};
  bool well_[2] = {true, true};               // of the last meetings, in turn
  alignas(64) std::atomic<int64_t> held_{0};  // how often all have met
};

struct TeamMember {
  Meeting& meeting;
  int64_t index;  // 0 .. members - 1
  int64_t members;
};

// Calls work(member) on so many threads at the same time, this one among them; on fewer, down to
// one, where the system gives no more. `work` must not throw.
void run_team(int64_t members, const std::function<void(const TeamMember&)>& work);

}  // namespace lexforge
