// The scheduler: blocks in order, their warps in turns, lanes in lockstep.
#include "machine.h"

#include <cxxabi.h>
#include <time.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <deque>

// Known if the process runs under the address sanitizer.
extern "C" __attribute__((weak)) void* __asan_region_is_poisoned(void* begin, size_t bytes);

namespace ptx {

Totals totals;

namespace {

std::string triple(const Dim& d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}

Dim thread_index(const Launch& launch, uint32_t thread) {
  const Dim& b = launch.block;
  return {thread % b.x, thread / b.x % b.y, thread / b.x / b.y};
}

std::string readable(const Kernel& kernel) {
  int status = 0;
  char* name = abi::__cxa_demangle(kernel.name.c_str(), nullptr, nullptr, &status);
  std::string result = status == 0 ? name : kernel.name;
  std::free(name);
  return result;
}

std::string statement(const Kernel& kernel, const Instruction& i) {
  const std::string& text = kernel.module->text;
  return text.substr(i.text, text.find(';', i.text) - i.text);
}

std::string source_line(const Kernel& kernel, const Instruction& i) {
  const auto file = kernel.module->files.find(i.file);
  if (file == kernel.module->files.end()) return "?";
  return file->second + ":" + std::to_string(i.line);
}

}  // namespace

void fail(Warp& w, const Instruction& i, int lane, const std::string& what) {
  const Launch& launch = *w.block->launch;
  const Dim thread = thread_index(launch, static_cast<uint32_t>(w.number * kLanes + lane));
  throw Error("ptx: " + what + "; kernel " + readable(*launch.kernel) + ", block " +
              triple(w.block->index) + ", thread " + triple(thread) + ", '" +
              statement(*launch.kernel, i) + "' at " + source_line(*launch.kernel, i));
}

void check_global(Warp& w, const Instruction& i, int lane, uint64_t at, uint32_t bytes,
                  bool write) {
  if (at < 65536) fail(w, i, lane, "null pointer");
  if (__asan_region_is_poisoned != nullptr &&
      __asan_region_is_poisoned(reinterpret_cast<void*>(at), bytes) != nullptr) {
    fail(w, i, lane,
         std::string(write ? "write to" : "read of") + " memory that is not allocated, " +
             std::to_string(bytes) + " bytes at " + std::to_string(at));
  }
}

namespace {

// The other side is known by its line only: accesses of one file are compared.
[[noreturn]] void report_race(Warp& w, const Instruction& i, int lane, const char* kind, int other,
                              int line, uint32_t at) {
  fail(w, i, lane,
       std::string("race (") + kind + ") on shared byte " + std::to_string(at) + " with thread " +
           std::to_string(other) + ", other access at line " + std::to_string(line));
}

}  // namespace

constexpr int16_t kWarpReads = 2000, kManyRead = 4000;

void check_race(Warp& w, const Instruction& i, int lane, uint32_t at, uint32_t bytes, bool write,
                bool atomic) {
  Block& block = *w.block;
  const auto thread = static_cast<int16_t>(w.number * kLanes + lane);
  for (uint32_t b = at; b < at + bytes; ++b) {
    Access& x = block.accesses[b];
    if (x.writer >= 0 && x.writer != thread && x.write_epoch == block.epoch &&
        !(atomic && x.atomic) && !(x.writer / kLanes == w.number && x.write_warp_epoch < w.epoch)) {
      report_race(w, i, lane,
                  x.writer / kLanes == w.number
                      ? (write ? "write-write in a warp" : "write-read in a warp")
                      : (write ? "write-write" : "write-read"),
                  x.writer, x.write_line, b);
    }
    if (write) {
      if (x.reader >= 0 && x.reader != thread && x.read_epoch == block.epoch) {
        const bool own_warp = x.reader >= kManyRead    ? false
                              : x.reader >= kWarpReads ? x.reader - kWarpReads == w.number
                                                       : x.reader / kLanes == w.number;
        if (!(own_warp && x.read_warp_epoch < w.epoch)) {
          report_race(w, i, lane, own_warp ? "read-write in a warp" : "read-write", x.reader,
                      x.read_line, b);
        }
      }
      x.writer = thread;
      x.write_epoch = block.epoch;
      x.write_warp_epoch = w.epoch;
      x.atomic = atomic;
      x.write_line = i.line;
    } else {
      if (x.reader >= 0 && x.read_epoch == block.epoch && x.reader != thread) {
        const int warp = x.reader >= kManyRead    ? -1
                         : x.reader >= kWarpReads ? x.reader - kWarpReads
                                                  : x.reader / kLanes;
        if (warp != w.number) {
          x.reader = kManyRead;
        } else {  // readers before a bar.warp.sync have been waited for
          x.reader = x.read_warp_epoch < w.epoch ? thread : static_cast<int16_t>(kWarpReads + warp);
        }
      } else {
        x.reader = thread;
      }
      x.read_epoch = block.epoch;
      x.read_line = i.line;
      x.read_warp_epoch = w.epoch;
    }
  }
}

namespace {

void start_block(Block& block, Launch& launch, uint64_t number) {
  block.launch = &launch;
  block.index = {static_cast<uint32_t>(number % launch.grid.x),
                 static_cast<uint32_t>(number / launch.grid.x % launch.grid.y),
                 static_cast<uint32_t>(number / launch.grid.x / launch.grid.y)};
  block.shared.assign(launch.shared_bytes, 0xFF);
  if (launch.check_races) block.accesses.assign(launch.shared_bytes, {});
  block.epoch = 1;
  block.done = false;
  const uint32_t warps = (launch.threads + kLanes - 1) / kLanes;
  block.warps.resize(warps);
  block.files.resize(warps);
  const Kernel& kernel = *launch.kernel;
  for (uint32_t n = 0; n < warps; ++n) {
    Warp& w = block.warps[n];
    block.files[n].resize(kernel.file_bytes + 64);
    const auto raw = reinterpret_cast<uintptr_t>(block.files[n].data());
    w.file = reinterpret_cast<uint8_t*>((raw + 63) / 64 * 64);
    std::memcpy(w.file, kernel.initial.data(), kernel.file_bytes);
    w.block = &block;
    w.number = static_cast<int>(n);
    const uint32_t lanes = std::min<uint32_t>(kLanes, launch.threads - n * kLanes);
    w.alive = lanes == kLanes ? kAll : (1u << lanes) - 1;
    w.waiting = w.at_barrier = 0;
    w.epoch = 1;
    for (int l = 0; l < kLanes; ++l) {
      w.pc[l] = 0;
      w.copies[l].clear();
      w.groups[l] = 0;
    }
    for (const auto& [name, at] : kernel.special) {
      for (uint32_t l = 0; l < kLanes; ++l) {
        const Dim t = thread_index(launch, n * kLanes + l);
        uint32_t value = 0;
        if (name == "%tid.x")
          value = t.x;
        else if (name == "%tid.y")
          value = t.y;
        else if (name == "%tid.z")
          value = t.z;
        else if (name == "%ntid.x")
          value = launch.block.x;
        else if (name == "%ntid.y")
          value = launch.block.y;
        else if (name == "%ntid.z")
          value = launch.block.z;
        else if (name == "%ctaid.x")
          value = block.index.x;
        else if (name == "%ctaid.y")
          value = block.index.y;
        else if (name == "%ctaid.z")
          value = block.index.z;
        else if (name == "%nctaid.x")
          value = launch.grid.x;
        else if (name == "%nctaid.y")
          value = launch.grid.y;
        else if (name == "%nctaid.z")
          value = launch.grid.z;
        else if (name == "%laneid")
          value = l;
        else if (name == "%warpid")
          value = n;
        else if (name == "%lanemask_eq")
          value = 1u << l;
        else if (name == "%lanemask_lt")
          value = (1u << l) - 1;
        else if (name == "%lanemask_le")
          value = (2u << l) - 1;
        else if (name == "%lanemask_gt")
          value = ~((2u << l) - 1);
        else if (name == "%lanemask_ge")
          value = ~((1u << l) - 1);
        else
          throw Error("ptx: special register " + name);
        w.words(at)[l] = value;
      }
    }
  }
}

void set_pc(Warp& w, uint32_t lanes, int pc) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) w.pc[__builtin_ctz(rest)] = pc;
}

void act(Warp& w, Instruction& i, uint32_t lanes) {
  ++i.runs;
  ++w.block->launch->instructions;
  w.block->launch->lane_instructions += static_cast<uint64_t>(__builtin_popcount(lanes));
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
    act(w, w.block->launch->kernel->code[pc], group);
    set_pc(w, group, pc + 1);
  }
}

// Runs a warp until no lane can go on, or `fuel` instructions; returns how many.
int64_t run_warp(Warp& w, int64_t fuel) {
  Launch& launch = *w.block->launch;
  Instruction* code = launch.kernel->code.data();
  int64_t done = 0;
  bool last_first = false;
  for (;;) {
    const uint32_t ready = w.alive & ~w.waiting & ~w.at_barrier;
    if (ready == 0 || done >= fuel) return done;
    int pc = last_first ? INT_MIN : INT_MAX;
    for (uint32_t rest = ready; rest != 0; rest &= rest - 1) {
      const int at = w.pc[__builtin_ctz(rest)];
      pc = last_first ? std::max(pc, at) : std::min(pc, at);
    }
    uint32_t active = 0;
    int stop = INT_MAX;
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
    int64_t patience = stop == INT_MAX ? INT64_MAX : 20000;  // others may be what it waits for
    for (;;) {
      if (pc >= stop || done >= fuel || --patience < 0) {
        set_pc(w, active, pc);
        last_first = patience < 0;
        break;
      }
      Instruction& i = code[pc];
      ++done;
      uint32_t lanes = active;
      if (i.has_guard) lanes &= i.guard_negated ? ~w.predicate(i.guard) : w.predicate(i.guard);
      if (i.kind == Kind::kPlain) {
        ++i.runs;
        ++launch.instructions;
        launch.lane_instructions += static_cast<uint64_t>(__builtin_popcount(lanes));
        if (lanes != 0) i.action(w, i, lanes);
        ++pc;
        continue;
      }
      if (i.kind == Kind::kBranch) {
        ++i.runs;
        ++launch.instructions;
        launch.lane_instructions += static_cast<uint64_t>(__builtin_popcount(active));
        if (lanes == active) {
          pc = i.target;
        } else if (lanes == 0) {
          ++pc;
        } else {
          set_pc(w, active & ~lanes, pc + 1);
          set_pc(w, lanes, i.target);
          break;
        }
        continue;
      }
      // The rest may be for some lanes only: the others go on behind it.
      if (lanes == 0) {
        ++pc;
        continue;
      }
      set_pc(w, active & ~lanes, pc + 1);
      set_pc(w, lanes, pc);
      if (i.kind == Kind::kExit) {
        ++i.runs;
        for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
          const int l = __builtin_ctz(rest);
          for (const Copy& copy : w.copies[l]) {
            if (!copy.last_of_group) fail(w, i, l, "ends before its copies were waited for");
          }
        }
        w.alive &= ~lanes;
        release(w);
        break;
      }
      if (i.kind == Kind::kBarrier) {
        w.at_barrier |= lanes;
        break;
      }
      if (i.kind == Kind::kAligned) {
        if (w.alive != kAll)
          fail(w, i, __builtin_ctz(lanes), "not all lanes of the warp are there");
        if (lanes == kAll) {
          act(w, i, lanes);
          ++pc;
          continue;
        }
        for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
          w.sync_mask[__builtin_ctz(rest)] = kAll;
        }
        w.waiting |= lanes;
        release(w);
        break;
      }
      bool at_once = true;
      for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        const uint32_t mask = w.words(i.e)[l];
        if (!(mask >> l & 1)) fail(w, i, l, "a lane outside the mask takes part");
        w.sync_mask[l] = mask;
        if ((mask & w.alive) != lanes) at_once = false;
      }
      if (at_once && lanes == active) {
        act(w, i, lanes);
        ++pc;
        continue;
      }
      w.waiting |= lanes;
      release(w);
      break;
    }
  }
}

// Opens the barrier if all threads of the block are at it.
bool try_barrier(Block& block) {
  const Instruction* at = nullptr;
  uint32_t votes = 0, there = 0;
  for (Warp& w : block.warps) {
    if (w.at_barrier != w.alive) return false;
    int pc = -1;
    for (uint32_t rest = w.alive; rest != 0; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      Instruction& i = block.launch->kernel->code[w.pc[l]];
      if (pc >= 0 && pc != w.pc[l]) fail(w, i, l, "lanes of a warp are at different barriers");
      pc = w.pc[l];
      if (at != nullptr && at->offset != i.offset) fail(w, i, l, "different kinds of barrier meet");
      at = &i;
      ++there;
      if (i.offset != 0) {
        const bool p = w.predicate(i.a) >> l & 1;
        votes += p != i.negated;
      }
    }
    if (pc >= 0) ++block.launch->kernel->code[pc].runs;
  }
  if (there == 0) return false;
  for (Warp& w : block.warps) {
    for (uint32_t rest = w.alive; rest != 0; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      const Instruction& i = block.launch->kernel->code[w.pc[l]];
      if (i.offset == 1) w.words(i.d)[l] = votes;
      if (i.offset >= 2) {
        const bool result = i.offset == 2 ? votes != 0 : votes == there;
        uint32_t& p = w.predicate(i.d);
        p = (p & ~(1u << l)) | uint32_t{result} << l;
      }
      ++w.pc[l];
    }
    w.at_barrier = 0;
  }
  ++block.epoch;
  return true;
}

std::string deadlock(const Block& block) {
  std::string report = "ptx: deadlock, no thread can go on; kernel " +
                       readable(*block.launch->kernel) + ", block " + triple(block.index);
  std::map<std::pair<int, int>, int> groups;
  for (const Warp& w : block.warps) {
    for (uint32_t rest = w.alive; rest != 0; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      ++groups[{w.pc[l], w.at_barrier >> l & 1 ? 1 : 0}];
    }
  }
  for (const auto& [where, count] : groups) {
    const Instruction& i = block.launch->kernel->code[where.first];
    report += "\n  " + std::to_string(count) + " threads at '" +
              statement(*block.launch->kernel, i) + "', " + source_line(*block.launch->kernel, i);
  }
  return report;
}

double processor_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

uint64_t number_from(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

}  // namespace

void run(Kernel& kernel, Dim grid, Dim block_size, uint32_t dynamic_shared,
         std::vector<uint8_t> parameters) {
  const double start = processor_seconds();
  Launch launch{};
  launch.kernel = &kernel;
  launch.grid = grid;
  launch.block = block_size;
  launch.threads = block_size.x * block_size.y * block_size.z;
  launch.shared_bytes = kernel.static_shared + dynamic_shared;
  launch.parameters = std::move(parameters);
  const char* order = "LEXFORGE_PTX_ORDER";
  launch.shuffled = std::getenv(order) != nullptr;
  launch.order.seed(static_cast<uint32_t>(number_from(order, 0)));
  launch.check_races = number_from("LEXFORGE_PTX_RACES", 0) != 0;
  launch.early_copies = number_from("LEXFORGE_PTX_EARLY_COPIES", 0) != 0;
  const uint64_t limit = number_from("LEXFORGE_PTX_LIMIT", 20'000'000'000);
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (launch.threads == 0 || launch.threads > 1024 ||
      launch.threads > static_cast<uint32_t>(kernel.max_threads) || blocks == 0 || grid.y > 65535 ||
      grid.z > 65535 || launch.shared_bytes > 227 * 1024) {
    throw Error("ptx: invalid configuration of " + kernel.name + ": grid " + triple(grid) +
                ", block " + triple(block_size) + ", shared " +
                std::to_string(launch.shared_bytes));
  }
  // As many blocks at a time as share the device; they start in order.
  const size_t resident = launch.shuffled ? number_from("LEXFORGE_PTX_RESIDENT", 4) : 1;
  std::deque<Block> slots(std::min<uint64_t>(resident, blocks));
  uint64_t next = 0;
  size_t running = 0;
  for (Block& block : slots) {
    start_block(block, launch, next++);
    ++running;
  }
  std::vector<size_t> turns;
  while (running > 0) {
    for (Block& block : slots) {
      if (block.done) continue;
      bool progress = false;
      turns.clear();
      for (size_t n = 0; n < block.warps.size(); ++n) turns.push_back(n);
      if (launch.shuffled) std::shuffle(turns.begin(), turns.end(), launch.order);
      uint32_t alive = 0;
      for (const size_t n : turns) {
        Warp& w = block.warps[n];
        if (launch.shuffled && launch.order() % 4 == 0) {
          progress = true;
        } else {
          const int64_t fuel = launch.shuffled ? 1 + launch.order() % 200 : 1'000'000;
          if (run_warp(w, fuel) > 0) progress = true;
        }
        alive |= w.alive;
      }
      if (alive == 0) {
        for (const Warp& w : block.warps) alive |= w.alive;
      }
      if (alive == 0) {
        block.done = true;
        --running;
        if (next < blocks) {
          start_block(block, launch, next++);
          ++running;
        }
        continue;
      }
      if (try_barrier(block)) progress = true;
      if (!progress) throw Error(deadlock(block));
      if (launch.instructions > limit) throw Error("ptx: no end of " + kernel.name);
    }
  }
  ++kernel.launches;
  ++totals.launches;
  totals.warp_instructions += launch.instructions;
  totals.lane_instructions += launch.lane_instructions;
  totals.seconds += processor_seconds() - start;
}

}  // namespace ptx
