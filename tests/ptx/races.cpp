#include "races.h"

#include <string>

#include "machine.h"

namespace ptx {

void SharedRaces::start(uint32_t shared_bytes, uint32_t granule) {
  shift_ = static_cast<uint32_t>(__builtin_ctz(granule));
  const size_t cells = (shared_bytes >> shift_) + 1;
  // Stamps of earlier blocks are before this one's barrier: cells need no clearing.
  if (cells_.size() < cells || clock_ > UINT32_MAX / 2) {
    cells_.assign(std::max(cells, cells_.size()), {});
    clock_ = 0;
  }
  barrier();
}

// For an access since the block's last barrier; those before it are ordered before everything.
bool SharedRaces::ordered(const Access& earlier, const Warp& warp, bool same_warp) const {
  return same_warp && earlier.stamp < warp.stamp;
}

void SharedRaces::access(const Warp& warp, const Instruction& instruction, int lane, uint32_t at,
                         uint32_t bytes, bool write, bool atomic) {
  const uint32_t thread = static_cast<uint32_t>(warp.number * kLanes + lane);
  const auto pc = static_cast<uint32_t>(&instruction - warp.block->launch->kernel->code.data());
  const Access now{warp.stamp, thread | pc << kPcShift};
  for (Cell *cell = &cells_[at >> shift_], *end = &cells_[(at + bytes - 1) >> shift_]; cell <= end;
       ++cell) {
    bool hides_plain_write = false;
    if (cell->write.stamp >= barrier_) {
      const uint32_t writer = cell->write.who & kThread;
      const bool by_atomic = cell->write.who & kAtomic;
      if (writer != thread && !(atomic && by_atomic) &&
          !ordered(cell->write, warp, writer / kLanes == thread / kLanes)) {
        report(warp, instruction, lane, at, write, cell->write, true);
      }
      // A thread's atomic must not cover its own plain write before, which others may meet.
      hides_plain_write = atomic && !by_atomic && writer == thread;
    }
    bool unordered = false, same_warp = false;  // reads by others
    if (cell->read.stamp >= barrier_) {
      const uint32_t reader = cell->read.who & kThread;
      same_warp = reader / kLanes == thread / kLanes && !(cell->read.who & kManyRead);
      const bool ours = reader == thread && !(cell->read.who & (kWarpReads | kManyRead));
      unordered = !ours && !ordered(cell->read, warp, same_warp);
    }
    if (!write) {
      cell->read = now;
      if (unordered) cell->read.who |= same_warp ? kWarpReads : kManyRead;
    } else {
      if (unordered) report(warp, instruction, lane, at, write, cell->read, false);
      if (hides_plain_write) continue;
      cell->write = now;
      if (atomic) cell->write.who |= kAtomic;
    }
  }
}

void SharedRaces::report(const Warp& warp, const Instruction& instruction, int lane, uint32_t at,
                         bool write, const Access& earlier, bool earlier_write) const {
  const Kernel& kernel = *warp.block->launch->kernel;
  const bool several = !earlier_write && (earlier.who & (kWarpReads | kManyRead));
  fail(warp, instruction, lane,
       std::string("race: a ") + (write ? "write to" : "read of") + " shared byte " +
           std::to_string(at) + " is not ordered after the " +
           (earlier_write ? "write"
            : several     ? "reads"
                          : "read") +
           " by thread " + std::to_string(earlier.who & kThread) + (several ? " and others" : "") +
           " at " + source_line(kernel, kernel.code[earlier.who >> kPcShift]));
}

}  // namespace ptx
