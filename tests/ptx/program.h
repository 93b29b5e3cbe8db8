// Kernels as the device executes them, and how they are made of PTX text.
//
// A register holds its value for all 32 lanes of a warp: 32 words, 32 longs of 64 bits, or, of a
// predicate, one word whose bit l is lane l's. An operand says where its register lies: an even
// number is an offset in the warp's own file, an odd one an offset + 1 in the constants, which the
// warps of a launch share.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace ptx {

constexpr int kLanes = 32;
constexpr uint32_t kAll = 0xFFFFFFFFu;

// What went wrong, in the classes that the CUDA runtime distinguishes.
enum class Fault { kInvalidValue, kInvalidConfiguration, kOutOfResources, kInvalidPtx, kLaunch };

struct Error : std::runtime_error {
  Error(Fault fault, const std::string& what) : std::runtime_error("ptx: " + what), fault(fault) {}
  Fault fault;
};

struct Warp;
struct Instruction;
using Action = void (*)(Warp&, const Instruction&, uint32_t lanes);

// Registers of 8 and 16 bits are words whose upper bits are never read.
enum class Class : uint8_t { kPredicate, kWord, kLong };

enum class Kind : uint8_t {
  kPlain,    // the action, for whichever lanes are there
  kBranch,   // bra
  kExit,     // ret, exit
  kSync,     // waits for all lanes of the mask in `e`
  kAligned,  // needs the whole warp
  kBarrier,  // bar.sync, bar.red
};

// One cache line. The letters are those of the PTX ISA's descriptions.
struct Instruction {
  Action action = nullptr;
  uint64_t runs = 0;               // times executed, by warps
  int64_t immediate = 0;           // an address's offset; a branch's target; groups to wait for
  const uint32_t* list = nullptr;  // more operands, of vectors and matrices
  uint32_t guard = 0;              // 0: none
  uint32_t d = 0, a = 0, b = 0, c = 0, e = 0;  // 0: the sink
  Kind kind = Kind::kPlain;
  uint8_t width = 1, bytes = 4;  // elements of a memory access or a conversion, bytes of each
  Class value_class = Class::kWord, source_class = Class::kWord;
  uint8_t target_bytes = 4;  // of a conversion
  bool guard_negated : 1 = false;
  bool negated : 1 = false;      // the predicate operand is
  bool sign : 1 = false;         // a load or a conversion's source extends it
  bool target_sign : 1 = false;  // of a conversion
};
static_assert(sizeof(Instruction) == 64);

// Where an instruction comes from: its statement in the text, and the line of the source.
struct Origin {
  uint32_t text;
  int file, line;
};

struct Parameter {
  std::string name;
  uint32_t offset, bytes;
};

enum class Special : uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLane,
  kWarp,
  kMaskEqual,
  kMaskLess,
  kMaskLessEqual,
  kMaskGreater,
  kMaskGreaterEqual,
};

struct Module;

struct Kernel {
  const Module* module = nullptr;
  std::string name;
  size_t text = 0;      // where its parameters begin
  bool parsed = false;  // the rest is known

  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0, static_shared = 0, local_bytes = 0;
  uint32_t max_threads = 1024;  // __launch_bounds__
  std::vector<Instruction> code;
  std::vector<Origin> origins;
  std::vector<uint32_t> lists;
  uint32_t file_bytes = 0;                             // a warp's registers
  std::vector<uint8_t> constants;                      // shared by the warps
  std::vector<std::pair<Special, uint32_t>> specials;  // their words in the file
  uint32_t granule = 16;  // bytes of the smallest access to shared memory

  uint32_t registers = 0;              // a thread's, by the machine code beside the PTX; 0: unknown
  uint32_t dynamic_shared = 48 << 10;  // allowed: cudaFuncAttributeMaxDynamicSharedMemorySize
  uint64_t launches = 0;

  uint64_t instructions() const;  // executed, by warps
};

struct Module {
  explicit Module(std::string text);

  // The kernel of this name, parsed; null if there is none.
  Kernel* find(const std::string& name);

  std::string text;
  std::map<int, std::string> files;
  std::map<std::string, std::unique_ptr<Kernel>> kernels;
  std::map<std::string, std::vector<uint8_t>> variables;  // .global and .const ones
  std::map<std::string, uint32_t> shared;                 // static ones outside of kernels
  uint32_t shared_bytes = 0;
  std::set<std::string> dynamic_shared;
};

// Registers of the text, numbered. Number 0 is the sink, where results go that nobody wants.
struct Register {
  enum Role : uint8_t { kSink, kVariable, kConstant, kSpecial } role;
  Class cls;
  Special special = {};
  uint64_t bits = 0;  // of a constant
};

// The registers that an instruction reads and writes.
struct Effects {
  std::vector<uint32_t> reads, writes;
};

// Gives the registers their places, where registers that do not live at the same time share one,
// and puts these places into the code in the stead of the numbers.
void place_registers(Kernel& kernel, const std::vector<Register>& registers,
                     const std::vector<Effects>& effects);

Action find_action(const std::string& name);  // null if unknown

}  // namespace ptx
