// What the CUDA runtime refuses to launch on compute capability 9.0.
#include <algorithm>

#include "machine.h"

namespace ptx {
namespace {

uint32_t rounded_up(uint32_t value, uint32_t unit) { return (value + unit - 1) / unit * unit; }

uint32_t warps(uint32_t threads) { return (threads + kLanes - 1) / kLanes; }

uint32_t registers_of_block(const Kernel& kernel, uint32_t threads) {
  return rounded_up(kernel.registers * kLanes, Limits::kRegistersUnit) * warps(threads);
}

}  // namespace

void check_launch(const Kernel& kernel, Dim grid, Dim block, uint32_t dynamic_shared) {
  const auto refuse = [&](Fault fault, const std::string& what) {
    throw Error(fault, what + "; launch of " + readable(kernel) + ", grid " + triple(grid) +
                           ", block " + triple(block) + ", " + std::to_string(dynamic_shared) +
                           " bytes of dynamic shared memory");
  };
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || threads == 0) {
    refuse(Fault::kInvalidConfiguration, "nothing to launch");
  }
  if (grid.x > Limits::kGridX || grid.y > Limits::kGridYZ || grid.z > Limits::kGridYZ) {
    refuse(Fault::kInvalidConfiguration, "the grid is larger than 2147483647 x 65535 x 65535");
  }
  if (threads > Limits::kThreads || block.z > 64) {
    refuse(Fault::kInvalidConfiguration, "a block has at most 1024 threads, 64 in z");
  }
  if (threads > kernel.max_threads) {
    refuse(Fault::kInvalidValue, std::to_string(threads) + " threads are more than the " +
                                     std::to_string(kernel.max_threads) +
                                     " of the kernel's launch bounds");
  }
  const uint32_t shared = kernel.static_shared + dynamic_shared;
  if (shared > Limits::kSharedOfBlock) {
    refuse(Fault::kInvalidValue, "static and dynamic shared memory are " + std::to_string(shared) +
                                     " bytes, a block has at most " +
                                     std::to_string(Limits::kSharedOfBlock));
  }
  if (dynamic_shared > kernel.dynamic_shared ||
      (kernel.dynamic_shared <= Limits::kSharedWithoutOptIn &&
       shared > Limits::kSharedWithoutOptIn)) {
    refuse(Fault::kInvalidValue,
           "more than 48 KB of shared memory need cudaFuncAttributeMaxDynamicSharedMemorySize");
  }
  if (registers_of_block(kernel, static_cast<uint32_t>(threads)) > Limits::kRegisters) {
    refuse(Fault::kOutOfResources, "a thread's " + std::to_string(kernel.registers) +
                                       " registers are too many for so many threads");
  }
}

int blocks_per_multiprocessor(const Kernel& kernel, uint32_t threads, uint32_t dynamic_shared) {
  if (threads == 0 || threads > kernel.max_threads) return 0;
  const uint32_t shared = kernel.static_shared + dynamic_shared + Limits::kSharedReserved;
  uint32_t blocks = std::min(Limits::kBlocksPerMultiprocessor,
                             Limits::kThreadsPerMultiprocessor / (kLanes * warps(threads)));
  blocks = std::min(blocks, Limits::kShared / rounded_up(shared, 128));
  if (kernel.registers > 0) {
    blocks = std::min(blocks, Limits::kRegisters / registers_of_block(kernel, threads));
  }
  return static_cast<int>(blocks);
}

}  // namespace ptx
