// The scheduler: blocks in order, their warps in turns, lanes in lockstep.
#include "machine.h"

#include <cxxabi.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>

namespace ptx {

// ---- names for errors

std::string triple(const Dim& d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}

std::string readable(const Kernel& kernel) {
  int status = 0;
  char* name = abi::__cxa_demangle(kernel.name.c_str(), nullptr, nullptr, &status);
  std::string result = status == 0 ? name : kernel.name;
  std::free(name);
  return result;
}

namespace {

const Origin& origin(const Kernel& kernel, const Instruction& i) {
  return kernel.origins[static_cast<size_t>(&i - kernel.code.data())];
}

std::string statement(const Kernel& kernel, const Instruction& i) {
  const std::string& text = kernel.module->text;
  const size_t begin = origin(kernel, i).text;
  return text.substr(begin, text.find(';', begin) - begin);
}

Dim thread_index(const Launch& launch, uint32_t thread) {
  const Dim& b = launch.block;
  return {thread % b.x, thread / b.x % b.y, thread / b.x / b.y};
}

}  // namespace

std::string source_line(const Kernel& kernel, const Instruction& i) {
  const Origin& from = origin(kernel, i);
  const auto file = kernel.module->files.find(from.file);
  if (file == kernel.module->files.end()) return "'" + statement(kernel, i) + "'";
  return file->second + ":" + std::to_string(from.line);
}

void fail(const Warp& w, const Instruction& i, int lane, const std::string& what) {
  const Launch& launch = *w.block->launch;
  const Dim thread = thread_index(launch, static_cast<uint32_t>(w.number * kLanes + lane));
  throw Error(Fault::kLaunch, what + "; kernel " + readable(*launch.kernel) + ", block " +
                                  triple(w.block->index) + ", thread " + triple(thread) + ", '" +
                                  statement(*launch.kernel, i) + "' at " +
                                  source_line(*launch.kernel, i));
}

uint64_t Kernel::instructions() const {
  uint64_t sum = 0;
  for (const Instruction& i : code) sum += i.runs;
  return sum;
}

Settings Settings::from_environment() {
  Settings s;
  const auto number = [](const char* name, uint64_t otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != 0 ? std::strtoull(value, nullptr, 10) : otherwise;
  };
  const auto is_set = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != 0;
  };
  s.races = number("LEXFORGE_PTX_RACES", 0) != 0;
  s.shuffled = is_set("LEXFORGE_PTX_ORDER");
  s.order_seed = static_cast<uint32_t>(number("LEXFORGE_PTX_ORDER", 0));
  s.early_copies = number("LEXFORGE_PTX_EARLY_COPIES", 0) != 0;
  s.jitter = is_set("LEXFORGE_PTX_JITTER");
  s.jitter_seed = static_cast<uint32_t>(number("LEXFORGE_PTX_JITTER", 0));
  s.resident = std::max<uint64_t>(1, number("LEXFORGE_PTX_RESIDENT", s.resident));
  s.limit = number("LEXFORGE_PTX_LIMIT", s.limit);
  return s;
}

namespace {

// ---- the start of a block

uint32_t special_value(Special special, const Launch& launch, const Block& block, uint32_t thread) {
  const uint32_t lane = thread % kLanes;
  switch (special) {
    case Special::kTidX:
      return thread_index(launch, thread).x;
    case Special::kTidY:
      return thread_index(launch, thread).y;
    case Special::kTidZ:
      return thread_index(launch, thread).z;
    case Special::kCtaidX:
      return block.index.x;
    case Special::kCtaidY:
      return block.index.y;
    case Special::kCtaidZ:
      return block.index.z;
    case Special::kNtidX:
      return launch.block.x;
    case Special::kNtidY:
      return launch.block.y;
    case Special::kNtidZ:
      return launch.block.z;
    case Special::kNctaidX:
      return launch.grid.x;
    case Special::kNctaidY:
      return launch.grid.y;
    case Special::kNctaidZ:
      return launch.grid.z;
    case Special::kLane:
      return lane;
    case Special::kWarp:
      return thread / kLanes;
    case Special::kMaskEqual:
      return 1u << lane;
    case Special::kMaskLess:
      return (1u << lane) - 1;
    case Special::kMaskLessEqual:
      return (2u << lane) - 1;
    case Special::kMaskGreater:
      return ~((2u << lane) - 1);
    case Special::kMaskGreaterEqual:
      return ~((1u << lane) - 1);
  }
  return 0;
}

constexpr int kPoison = 0xFF;  // a NaN, -1, true

// Registers, shared and local memory are poisoned: nothing that another block left is there.
void start_block(Block& block, Launch& launch, uint64_t number) {
  const Kernel& kernel = *launch.kernel;
  block.launch = &launch;
  block.index = {static_cast<uint32_t>(number % launch.grid.x),
                 static_cast<uint32_t>(number / launch.grid.x % launch.grid.y),
                 static_cast<uint32_t>(number / launch.grid.x / launch.grid.y)};
  block.done = false;
  block.shared.resize(launch.shared_bytes);
  std::memset(block.shared.data(), kPoison, launch.shared_bytes);
  if (launch.settings.races) block.races.start(launch.shared_bytes, kernel.granule);
  const uint32_t warps = (launch.threads + kLanes - 1) / kLanes;
  block.warps.resize(warps);
  const size_t stride = kernel.file_bytes / sizeof(uint64_t);
  block.files.resize(stride * warps + 8);
  std::memset(block.files.data(), kPoison, block.files.size() * sizeof(uint64_t));
  const uintptr_t start = (reinterpret_cast<uintptr_t>(block.files.data()) + 63) / 64 * 64;
  for (uint32_t n = 0; n < warps; ++n) {
    Warp& w = block.warps[n];
    w.block = &block;
    w.number = static_cast<int>(n);
    w.file = reinterpret_cast<uint8_t*>(start) + size_t{kernel.file_bytes} * n;
    w.bases[0] = w.file;
    w.bases[1] = kernel.constants.data() - 1;
    w.local.assign(size_t{kernel.local_bytes} * kLanes, kPoison);
    const uint32_t lanes = std::min<uint32_t>(kLanes, launch.threads - n * kLanes);
    w.alive = lanes == kLanes ? kAll : (1u << lanes) - 1;
    w.waiting = w.at_barrier = 0;
    w.stamp = block.races.next_stamp();
    std::fill_n(w.pc, kLanes, 0);
    std::fill_n(w.groups, kLanes, 0);
    for (std::vector<Copy>& copies : w.copies) copies.clear();
    for (const auto& [special, at] : kernel.specials) {
      auto* values = reinterpret_cast<uint32_t*>(w.file + at);
      for (uint32_t l = 0; l < kLanes; ++l) {
        values[l] = special_value(special, launch, block, n * kLanes + l);
      }
    }
  }
}

// ---- a warp

void set_pc(Warp& w, uint32_t lanes, int pc) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) w.pc[__builtin_ctz(rest)] = pc;
}

void act(Warp& w, Instruction& i, uint32_t lanes) {
  ++i.runs;
  i.action(w, i, lanes);
}

// Lets the groups go on whose lanes all wait at one instruction.
void release(Warp& w) {
  for (uint32_t rest = w.waiting; rest != 0;) {
    const int first = __builtin_ctz(rest);
    const uint32_t mask = w.sync_mask[first];
    uint32_t group = 0;
    for (uint32_t lanes = w.waiting; lanes != 0; lanes &= lanes - 1) {
      const int l = __builtin_ctz(lanes);
      if (w.pc[l] == w.pc[first] && w.sync_mask[l] == mask) group |= 1u << l;
    }
    rest &= ~group;
    if ((mask & w.alive & ~group) != 0) continue;
    const int pc = w.pc[first];
    w.waiting &= ~group;
    act(w, w.block->launch->kernel->code[static_cast<size_t>(pc)], group);
    set_pc(w, group, pc + 1);
  }
}

void check_exit(const Warp& w, const Instruction& i, uint32_t lanes) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    for (const Copy& copy : w.copies[l]) {
      if (!copy.last_of_group) fail(w, i, l, "ends before its asynchronous copies were waited for");
    }
  }
}

// Lanes that have come to one instruction of the masks' lanes; whether all were there already.
bool meet(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto* masks = reinterpret_cast<const uint32_t*>(w.bases[i.e & 1] + i.e);
  bool all = true;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const uint32_t mask = masks[l];
    if (!(mask >> l & 1)) {
      fail(w, i, l, "a lane takes part that is not in its mask, " + std::to_string(mask));
    }
    w.sync_mask[l] = mask;
    if ((mask & w.alive) != lanes) all = false;
  }
  return all;
}

// Where lanes have parted, one group may spin until another has done something.
constexpr int64_t kPatience = 20000;

// Runs a warp until no lane can go on, or `fuel` instructions; returns how many.
int64_t run_warp(Warp& w, int64_t fuel) {
  Instruction* const code = w.block->launch->kernel->code.data();
  int64_t done = 0;
  bool last_first = false;  // the group furthest ahead, for once
  for (;;) {
    const uint32_t ready = w.alive & ~w.waiting & ~w.at_barrier;
    if (ready == 0 || done >= fuel) return done;
    int pc = last_first ? INT_MIN : INT_MAX;
    for (uint32_t rest = ready; rest != 0; rest &= rest - 1) {
      const int at = w.pc[__builtin_ctz(rest)];
      pc = last_first ? std::max(pc, at) : std::min(pc, at);
    }
    uint32_t active = 0;
    int stop = INT_MAX;  // where others are
    for (uint32_t rest = ready; rest != 0; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      if (w.pc[l] == pc) {
        active |= 1u << l;
      } else {
        stop = std::min(stop, w.pc[l]);
      }
    }
    if (last_first) stop = INT_MAX;
    last_first = false;
    const int64_t begin = done;
    const int64_t patience = active == ready ? INT64_MAX : kPatience;
    for (;;) {
      if (pc >= stop || done >= fuel || done - begin > patience) {
        set_pc(w, active, pc);
        last_first = done - begin > patience;
        break;
      }
      Instruction& i = code[pc];
      ++done;
      uint32_t lanes = active;
      if (i.guard != 0) {
        const uint32_t p = w.predicate(i.guard);
        lanes &= i.guard_negated ? ~p : p;
      }
      if (i.kind == Kind::kPlain) {
        ++i.runs;
        if (lanes != 0) i.action(w, i, lanes);
        ++pc;
        continue;
      }
      if (i.kind == Kind::kBranch) {
        ++i.runs;
        if (lanes == active) {
          pc = static_cast<int>(i.immediate);
        } else if (lanes == 0) {
          ++pc;
        } else {
          set_pc(w, active & ~lanes, pc + 1);
          set_pc(w, lanes, static_cast<int>(i.immediate));
          break;
        }
        continue;
      }
      // The rest may be for some lanes only: the others go on behind it.
      if (lanes == 0) {
        ++pc;
        continue;
      }
      if (i.kind == Kind::kAligned && lanes == kAll) {
        act(w, i, lanes);
        ++pc;
        continue;
      }
      if (i.kind == Kind::kSync && meet(w, i, lanes) && lanes == active) {
        act(w, i, lanes);
        ++pc;
        continue;
      }
      set_pc(w, active & ~lanes, pc + 1);
      set_pc(w, lanes, pc);
      if (i.kind == Kind::kExit) {
        ++i.runs;
        check_exit(w, i, lanes);
        w.alive &= ~lanes;
        release(w);
      } else if (i.kind == Kind::kBarrier) {
        ++i.runs;
        w.at_barrier |= lanes;
      } else {
        if (i.kind == Kind::kAligned) {
          if (w.alive != kAll) {
            fail(w, i, __builtin_ctz(lanes), "not all lanes of the warp are there");
          }
          for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
            w.sync_mask[__builtin_ctz(rest)] = kAll;
          }
        }
        w.waiting |= lanes;
        release(w);
      }
      break;
    }
  }
}

// ---- barriers

struct Arrival {
  const Instruction* at = nullptr;
  uint32_t threads = 0, votes = 0;
  uint32_t wanted = 0;  // 0: all threads of the block
};

uint32_t word(const Warp& w, uint32_t at, int lane) {
  return reinterpret_cast<const uint32_t*>(w.bases[at & 1] + at)[lane];
}

// What has come to a warp's barrier, which all its lanes must have reached.
void arrive(const Warp& w, std::map<uint32_t, Arrival>& arrivals) {
  const Kernel& kernel = *w.block->launch->kernel;
  const int first = __builtin_ctz(w.alive);
  const Instruction& i = kernel.code[static_cast<size_t>(w.pc[first])];
  const uint32_t number = word(w, i.a, first);
  if (number > 15) fail(w, i, first, "there is no barrier " + std::to_string(number));
  Arrival& arrival = arrivals[number];
  for (uint32_t rest = w.alive; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    if (w.pc[l] != w.pc[first]) fail(w, i, l, "lanes of a warp are at different barriers");
    ++arrival.threads;
    if (i.immediate != 0) arrival.votes += (w.predicate(i.c) >> l & 1) != (i.negated ? 1 : 0);
  }
  const uint32_t wanted = i.b != 0 ? word(w, i.b, first) : 0;
  if (wanted % kLanes != 0) fail(w, i, first, "a barrier's threads are whole warps");
  if (arrival.at != nullptr) {
    if (arrival.at->immediate != i.immediate) fail(w, i, first, "different kinds of barrier meet");
    if (arrival.wanted != wanted) fail(w, i, first, "a barrier's counts of threads differ");
  }
  arrival.at = &i;
  arrival.wanted = wanted;
}

// Lets go those at a barrier that all have reached; whether there were any.
bool open_barriers(Block& block) {
  uint32_t alive = 0;
  bool everyone = true;
  std::map<uint32_t, Arrival> arrivals;
  for (const Warp& w : block.warps) {
    if (w.alive == 0) continue;
    alive += static_cast<uint32_t>(__builtin_popcount(w.alive));
    if (w.at_barrier != w.alive) everyone = false;
  }
  if (alive == 0) return false;
  for (const Warp& w : block.warps) {
    if (w.alive != 0 && w.at_barrier == w.alive) arrive(w, arrivals);
  }
  bool opened = false;
  for (Warp& w : block.warps) {
    if (w.alive == 0 || w.at_barrier != w.alive) continue;
    const int first = __builtin_ctz(w.alive);
    const Instruction& i = block.launch->kernel->code[static_cast<size_t>(w.pc[first])];
    const Arrival& arrival = arrivals[word(w, i.a, first)];
    if (arrival.wanted != 0 ? arrival.threads < arrival.wanted
                            : !everyone || arrival.threads != alive) {
      continue;
    }
    if (!opened) block.races.barrier();
    opened = true;
    for (uint32_t rest = w.alive; rest != 0; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      if (i.immediate == 'p') reinterpret_cast<uint32_t*>(w.file + i.d)[l] = arrival.votes;
      ++w.pc[l];
    }
    if (i.immediate == 'o') w.set_predicate(i.d, w.alive, arrival.votes != 0 ? kAll : 0);
    if (i.immediate == 'a') {
      w.set_predicate(i.d, w.alive, arrival.votes == arrival.threads ? kAll : 0);
    }
    w.at_barrier = 0;
    w.stamp = block.races.next_stamp();
  }
  return opened;
}

std::string deadlock(const Block& block) {
  const Kernel& kernel = *block.launch->kernel;
  std::string report = "deadlock, no thread can go on; kernel " + readable(kernel) + ", block " +
                       triple(block.index);
  std::map<int, int> groups;
  for (const Warp& w : block.warps) {
    for (uint32_t rest = w.alive; rest != 0; rest &= rest - 1) ++groups[w.pc[__builtin_ctz(rest)]];
  }
  for (const auto& [pc, count] : groups) {
    const Instruction& i = kernel.code[static_cast<size_t>(pc)];
    report += "\n  " + std::to_string(count) + " threads at '" + statement(kernel, i) + "', " +
              source_line(kernel, i);
  }
  return report;
}

// ---- blocks

// Every warp of the block in turn; whether any came further.
bool run_block(Block& block, std::vector<size_t>& turns) {
  Launch& launch = *block.launch;
  turns.clear();
  for (size_t n = 0; n < block.warps.size(); ++n) turns.push_back(n);
  if (launch.settings.shuffled) std::shuffle(turns.begin(), turns.end(), launch.order);
  bool progress = false;
  for (const size_t n : turns) {
    if (launch.settings.shuffled && launch.order() % 4 == 0) {
      progress = true;  // left out this time
      continue;
    }
    const int64_t fuel = launch.settings.shuffled ? 1 + launch.order() % 200 : 1'000'000;
    const int64_t done = run_warp(block.warps[n], fuel);
    launch.instructions += static_cast<uint64_t>(done);
    if (done > 0) progress = true;
  }
  return progress;
}

bool is_over(const Block& block) {
  return std::all_of(block.warps.begin(), block.warps.end(),
                     [](const Warp& w) { return w.alive == 0; });
}

}  // namespace

std::vector<uint8_t> pack_parameters(const Kernel& kernel, void** values) {
  std::vector<uint8_t> packed((kernel.parameter_bytes + 15) / 16 * 16);
  for (size_t n = 0; n < kernel.parameters.size(); ++n) {
    const Parameter& parameter = kernel.parameters[n];
    std::memcpy(packed.data() + parameter.offset, values[n], parameter.bytes);
  }
  return packed;
}

void run(Kernel& kernel, Dim grid, Dim block_size, uint32_t dynamic_shared,
         std::vector<uint8_t> parameters) {
  check_launch(kernel, grid, block_size, dynamic_shared);
  Launch launch;
  launch.kernel = &kernel;
  launch.grid = grid;
  launch.block = block_size;
  launch.threads = block_size.x * block_size.y * block_size.z;
  launch.shared_bytes = kernel.static_shared + dynamic_shared;
  launch.parameters = std::move(parameters);
  launch.settings = Settings::from_environment();
  launch.order.seed(launch.settings.order_seed);
  ++kernel.launches;

  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  const size_t resident =
      std::min<uint64_t>(launch.settings.shuffled ? launch.settings.resident : 1, blocks);
  static std::deque<Block> slots;  // kept for their memory; launches follow one another
  while (slots.size() < resident) slots.emplace_back();
  uint64_t next = 0;
  for (size_t n = 0; n < resident; ++n) start_block(slots[n], launch, next++);
  size_t running = resident;
  std::vector<size_t> turns, block_turns;
  for (size_t n = 0; n < resident; ++n) block_turns.push_back(n);
  while (running > 0) {
    if (launch.settings.shuffled)
      std::shuffle(block_turns.begin(), block_turns.end(), launch.order);
    for (const size_t n : block_turns) {
      Block& block = slots[n];
      if (block.done) continue;
      bool progress = run_block(block, turns);
      if (is_over(block)) {
        block.done = next == blocks;
        if (block.done) {
          --running;
        } else {
          start_block(block, launch, next++);
        }
        continue;
      }
      if (open_barriers(block)) progress = true;
      if (!progress) throw Error(Fault::kLaunch, deadlock(block));
      if (launch.instructions > launch.settings.limit) {
        throw Error(Fault::kLaunch, "no end after " + std::to_string(launch.instructions) +
                                        " instructions; kernel " + readable(kernel));
      }
    }
  }
}

}  // namespace ptx
