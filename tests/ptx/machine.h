// A device for PTX on the CPU: what nvcc made of the kernels, instruction by instruction.
//
// Warps run in lockstep: an instruction is done for all active lanes at once. Where lanes part, the
// group with the smallest program counter goes first, so that they meet again at the join; the
// instructions of a whole warp (.sync) wait for every lane of their mask, like the hardware's.
//
// Blocks start in order, one at a time or, shuffled, several whose warps take turns at random.
// Global memory is host memory. One thread executes everything: fences have nothing to do, and the
// order of memory between blocks is stricter than the hardware's.
//
// Every .cpp of this folder is part of the device; runtime.cpp alone needs the CUDA headers.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "program.h"
#include "races.h"

namespace ptx {

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
};

// The environment, read at every launch.
struct Settings {
  bool races = false;         // LEXFORGE_PTX_RACES=1: a race fails the launch
  bool shuffled = false;      // LEXFORGE_PTX_ORDER=seed: warps and blocks in random order
  bool early_copies = false;  // LEXFORGE_PTX_EARLY_COPIES=1: cp.async at once, not at the wait
  bool jitter = false;        // LEXFORGE_PTX_JITTER=seed: approximations err, as documented
  uint32_t order_seed = 0, jitter_seed = 0;
  uint64_t resident = 4;            // LEXFORGE_PTX_RESIDENT: blocks at a time, if shuffled
  uint64_t limit = 20'000'000'000;  // LEXFORGE_PTX_LIMIT: instructions of a launch

  static Settings from_environment();
};

// What a multiprocessor of compute capability 9.0 has, and a block may have of it.
struct Limits {
  static constexpr uint32_t kThreads = 1024, kThreadsPerMultiprocessor = 2048;
  static constexpr uint32_t kBlocksPerMultiprocessor = 32;
  static constexpr uint32_t kRegisters = 64 << 10;
  static constexpr uint32_t kRegistersUnit = 256;  // a warp's are rounded up to it
  static constexpr uint32_t kShared = 228 << 10;
  static constexpr uint32_t kSharedReserved = 1 << 10;  // of every block, by the system
  static constexpr uint32_t kSharedOfBlock = kShared - kSharedReserved;
  static constexpr uint32_t kSharedWithoutOptIn = 48 << 10;
  static constexpr uint32_t kGridX = 0x7FFFFFFF, kGridYZ = 65535;
};

// A cp.async under way.
struct Copy {
  uint32_t to;
  uint64_t from;
  uint8_t bytes, from_bytes;
  bool done;  // early; the bytes are there already
  bool last_of_group;
  const Instruction* instruction;
};

struct Block;

struct Warp {
  Block* block = nullptr;
  int number = 0;
  uint8_t* file = nullptr;                          // registers
  const uint8_t* bases[2] = {};                     // of operands: the file, the constants
  std::vector<uint8_t> local;                       // of all lanes
  uint32_t alive = 0, waiting = 0, at_barrier = 0;  // sets of lanes
  int pc[kLanes] = {};
  uint32_t sync_mask[kLanes] = {};
  std::vector<Copy> copies[kLanes];
  int groups[kLanes] = {};  // committed, not waited for
  uint32_t stamp = 0;       // of the last synchronisation (races.h)

  uint32_t predicate(uint32_t at) const {
    return *reinterpret_cast<const uint32_t*>(bases[at & 1] + at);
  }
  void set_predicate(uint32_t at, uint32_t lanes, uint32_t value) {
    uint32_t& p = *reinterpret_cast<uint32_t*>(file + at);
    p = (p & ~lanes) | (value & lanes);
  }
};

struct Launch {
  Kernel* kernel = nullptr;
  Dim grid, block;
  uint32_t threads = 0, shared_bytes = 0;
  std::vector<uint8_t> parameters;
  Settings settings;
  std::mt19937 order;
  uint64_t instructions = 0;
};

struct Block {
  Launch* launch = nullptr;
  Dim index;
  std::vector<uint8_t> shared;
  SharedRaces races;
  std::vector<Warp> warps;
  std::vector<uint64_t> files;  // all warps' registers
  bool done = false;
};

// Executes a kernel to its end. The parameters are laid out as `kernel.parameters` says.
void run(Kernel& kernel, Dim grid, Dim block, uint32_t dynamic_shared,
         std::vector<uint8_t> parameters);

// The values that the pointers lead to, as a launch has them.
std::vector<uint8_t> pack_parameters(const Kernel& kernel, void** values);

// Throws what the CUDA runtime would refuse (limits.cpp).
void check_launch(const Kernel& kernel, Dim grid, Dim block, uint32_t dynamic_shared);

// Blocks of this kernel that share a multiprocessor.
int blocks_per_multiprocessor(const Kernel& kernel, uint32_t threads, uint32_t dynamic_shared);

std::string readable(const Kernel& kernel);  // its name, demangled
std::string source_line(const Kernel& kernel, const Instruction& instruction);
std::string triple(const Dim& dim);

// Ends the launch with an error that names the thread and the statement.
[[noreturn]] void fail(const Warp& warp, const Instruction& instruction, int lane,
                       const std::string& what);

}  // namespace ptx
