// Races on shared memory: two accesses to a byte by two threads of which one is a write, not both
// atomic, and nothing between that orders them, which is a barrier of the block or, within a warp,
// bar.warp.sync. That lanes run in lockstep orders nothing.
//
// Time is counted in synchronisations: each takes the next stamp of the block. A cell remembers the
// last write to its bytes and the reads since, with the stamp that its warp had.
#pragma once

#include <cstdint>
#include <vector>

namespace ptx {

struct Warp;
struct Instruction;

class SharedRaces {
 public:
  // A new block. `granule` divides every access to come.
  void start(uint32_t shared_bytes, uint32_t granule);

  uint32_t next_stamp() { return ++clock_; }
  void barrier() { barrier_ = ++clock_; }

  // Notes a lane's access to shared bytes; fails the launch if it races with an earlier one.
  void access(const Warp& warp, const Instruction& instruction, int lane, uint32_t at,
              uint32_t bytes, bool write, bool atomic);

 private:
  struct Access {
    uint32_t stamp = 0;
    uint32_t who = 0;  // the thread, the flags below, the instruction's number
  };
  struct Cell {
    Access write, read;
  };
  static constexpr uint32_t kThread = 1023, kAtomic = 1 << 10;
  static constexpr uint32_t kWarpReads = 1 << 10, kManyRead = 1 << 11;  // several have read
  static constexpr int kPcShift = 12;

  bool ordered(const Access& earlier, const Warp& warp, bool same_warp) const;
  [[noreturn]] void report(const Warp& warp, const Instruction& instruction, int lane, uint32_t at,
                           bool write, const Access& earlier, bool earlier_write) const;

  std::vector<Cell> cells_;
  uint32_t shift_ = 0;
  uint32_t clock_ = 0, barrier_ = 0;
};

}  // namespace ptx
