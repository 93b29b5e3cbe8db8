// A device for PTX on the CPU: what nvcc made of the kernels, instruction by instruction.
//
// Warps run in lockstep: an instruction is done for all active lanes at once. Where lanes part, the
// group with the smallest program counter goes first, so that they meet again at the join; the
// instructions of a whole warp (.sync) wait for every lane of their mask, like the hardware's.
//
// Blocks start in order. Global memory is host memory. Every .cpp of this folder is part of the
// device; runtime.cpp alone needs the CUDA headers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace ptx {

constexpr int kLanes = 32;
constexpr uint32_t kAll = 0xFFFFFFFFu;

struct Warp;
struct Block;
struct Instruction;
using Action = void (*)(Warp&, const Instruction&, uint32_t lanes);

// Registers of 64 bits have 32 x 8 bytes, shorter ones 32 x 4 bytes, predicates one word: bit l is
// lane l's. An operand is where its register begins in the warp's file; constants and special
// registers are registers that are filled beforehand.
enum class Class : uint8_t { kPredicate, kWord, kLong };

enum class Kind : uint8_t {
  kPlain,    // action
  kBranch,   // bra
  kExit,     // ret, exit
  kSync,     // an instruction of the lanes of a mask: wait, then action
  kAligned,  // an instruction of the whole warp
  kBarrier,  // bar.sync, bar.red
};

struct Instruction {
  Action action = nullptr;
  Kind kind = Kind::kPlain;
  bool guard_negated = false, has_guard = false, negated = false;
  uint8_t width = 1, bytes = 4;  // of a memory access: elements and the bytes of each
  bool sign = false;             // a load extends the sign
  Class value_class = Class::kWord;
  Class source_class = Class::kWord;
  uint32_t guard = 0;
  uint32_t d = 0, d2 = 0, a = 0, b = 0, c = 0, e = 0;
  uint32_t list[8] = {};  // the registers of a vector operand
  uint32_t list2[8] = {};
  int64_t offset = 0;  // of an address
  int target = -1;     // of a branch
  int line = 0, file = 0;
  uint32_t text = 0;  // where the statement stands in the module's text
  uint64_t runs = 0;  // times executed, in warps
};

struct Parameter {
  std::string name;
  uint32_t offset, bytes;
};

struct Module;

struct Kernel {
  const Module* module = nullptr;
  std::string name;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0, static_shared = 0;
  int max_threads = 1024;
  std::vector<Instruction> code;
  uint32_t file_bytes = 0;                  // a warp's registers
  std::vector<uint8_t> initial;             // constants at their places, poison elsewhere
  std::map<std::string, uint32_t> special;  // special registers in use
  uint64_t launches = 0;
};

struct Module {
  std::string text;
  std::map<int, std::string> files;
  std::map<std::string, std::unique_ptr<Kernel>> kernels;
  std::map<std::string, std::vector<uint8_t>> variables;  // .global and .const ones
};

std::unique_ptr<Module> parse_module(std::string text);

Action find_action(const std::string& opcode);  // null if unknown

struct Copy {
  uint32_t to;
  uint64_t from;
  uint8_t bytes, from_bytes;
  bool last_of_group;
};

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
};

struct Warp {
  Block* block = nullptr;
  int number = 0;
  uint8_t* file = nullptr;
  uint32_t alive = 0, waiting = 0, at_barrier = 0;  // sets of lanes
  int pc[kLanes] = {};
  uint32_t sync_mask[kLanes] = {};
  int current_pc = 0;
  std::vector<Copy> copies[kLanes];
  int groups[kLanes] = {};
  uint32_t epoch = 0;  // bar.warp.sync passed

  uint32_t& predicate(uint32_t at) { return *reinterpret_cast<uint32_t*>(file + at); }
  uint32_t* words(uint32_t at) { return reinterpret_cast<uint32_t*>(file + at); }
  uint64_t* longs(uint32_t at) { return reinterpret_cast<uint64_t*>(file + at); }
};

// What a byte of shared memory remembers for the race check.
struct Access {
  int16_t writer = -1, reader = -1;  // threads; -2: several readers
  uint32_t write_epoch = 0, read_epoch = 0, write_warp_epoch = 0, read_warp_epoch = 0;
  bool atomic = false;
  int write_line = 0, read_line = 0;
};

struct Launch;

struct Block {
  Launch* launch = nullptr;
  Dim index;
  std::vector<uint8_t> shared;
  std::vector<Access> accesses;
  std::vector<Warp> warps;
  std::vector<std::vector<uint8_t>> files;
  uint32_t epoch = 1;
  bool done = false;
  uint32_t barrier_votes = 0;
};

struct Launch {
  Kernel* kernel;
  Dim grid, block;
  uint32_t threads, shared_bytes;
  std::vector<uint8_t> parameters;
  bool shuffled = false, check_races = false, early_copies = false;
  std::mt19937 order;
  uint64_t instructions = 0, lane_instructions = 0;
};

void run(Kernel& kernel, Dim grid, Dim block, uint32_t dynamic_shared,
         std::vector<uint8_t> parameters);

// The address of `bytes` bytes for a lane, checked; shared ones are offsets.
[[noreturn]] void fail(Warp& warp, const Instruction& instruction, int lane,
                       const std::string& what);
void check_global(Warp& warp, const Instruction& instruction, int lane, uint64_t at, uint32_t bytes,
                  bool write);
void check_race(Warp& warp, const Instruction& instruction, int lane, uint32_t at, uint32_t bytes,
                bool write, bool atomic);

struct Totals {
  uint64_t launches = 0, warp_instructions = 0, lane_instructions = 0;
  double seconds = 0;
};
extern Totals totals;

}  // namespace ptx
