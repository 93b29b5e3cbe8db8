// The scheduler of the emulated device: blocks in a loop, their threads as fibres.
#include "cuda_emulation.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#ifdef __x86_64__
#define LEXFORGE_OWN_SWITCH  // ucontext makes two system calls per switch
#else
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace lexforge::emulation {
namespace {

// ---- stacks and how to change between them
// --------------------------------------------------------

constexpr size_t kPage = 4096;
constexpr size_t kStackBytes = 256 * 1024;  // the sanitizers enlarge frames

struct Context {
#ifdef LEXFORGE_OWN_SWITCH
  void* stack_pointer = nullptr;
#else
  ucontext_t machine;
#endif
  char* stack = nullptr;  // lowest address; null for the thread that launches
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // the address sanitizer's
};

#ifdef LEXFORGE_OWN_SWITCH
// Saves the registers that a call preserves on the old stack and takes them from the new one.
asm(R"(
.text
.local lexforge_switch_stack
.type lexforge_switch_stack, @function
lexforge_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lexforge_switch_stack, .-lexforge_switch_stack
)");
extern "C" void lexforge_switch_stack(void** save_to, void* load_from);
#endif

#ifdef __SANITIZE_ADDRESS__
void arrived_in_fibre(void* fake_stack, Context& launcher) {
  const void* stack = nullptr;
  __sanitizer_finish_switch_fiber(fake_stack, &stack, &launcher.stack_bytes);
  launcher.stack = static_cast<char*>(const_cast<void*>(stack));
}
#endif

// Returns when something changes back to `from`. The launching thread's stack is learnt on arrival
// in a fibre, which only it can cause.
void switch_context(Context& from, Context& to, bool from_fibre) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_bytes);
#endif
#ifdef LEXFORGE_OWN_SWITCH
  lexforge_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.machine, &to.machine);
#endif
#ifdef __SANITIZE_ADDRESS__
  if (from_fibre) {
    arrived_in_fibre(from.fake_stack, to);
  } else {
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
  }
#endif
  (void)from_fibre;
}

void prepare_context(Context& context, void (*entry)()) {
  if (context.stack == nullptr) {
    // One unreadable page below each stack turns an overflow into a fault.
    void* memory = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("emulated device: no memory for stacks");
    mprotect(memory, kPage, PROT_NONE);
    context.stack = static_cast<char*>(memory) + kPage;
    context.stack_bytes = kStackBytes;
  }
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(context.stack, context.stack_bytes);
#endif
  context.fake_stack = nullptr;
#ifdef LEXFORGE_OWN_SWITCH
  // As if `entry` had been called from nowhere: its address is what `ret` finds, six zeros below it
  // are the registers, and the stack is aligned as after a call.
  void** top = reinterpret_cast<void**>(context.stack + context.stack_bytes);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  context.stack_pointer = top;
#else
  getcontext(&context.machine);
  context.machine.uc_stack.ss_sp = context.stack;
  context.machine.uc_stack.ss_size = context.stack_bytes;
  context.machine.uc_link = nullptr;
  makecontext(&context.machine, entry, 0);
#endif
}

// ---- the device
// -----------------------------------------------------------------------------------

struct Fibre {
  Context context;
  uint3 index;
  int number;  // linear index in the block
  bool done = true;
  Wait wait = Wait::kNone;
  unsigned mask = 0;
  uint64_t value = 0;  // what this thread brings, then what it gets
  int source = 0;
  Site site;

  int lane() const { return number % warpSize; }
};

struct Device {
  std::mutex one_launch;
  std::deque<Fibre> fibres;  // kept from launch to launch; a machine context must not move
  Context launcher;
  Fibre* current = nullptr;
  int threads = 0, running = 0;  // of the block: all, and those that have not returned
  ThreadBody body = nullptr;
  const void* argument = nullptr;
  const void* kernel = nullptr;
  void* shared = nullptr;
  std::string error;
  bool shuffled = false;
  std::mt19937 order;
};

Device device;

std::string triple(unsigned x, unsigned y, unsigned z) {
  return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
}

std::string place(const Site& site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line()) + " in " +
         site.function_name();
}

// The kernel's name from the debug information, since kernels are rarely exported symbols.
std::string kernel_name() {
  Dl_info library;
  if (dladdr(device.kernel, &library) == 0) return "?";
  const auto offset =
      static_cast<const char*>(device.kernel) - static_cast<const char*>(library.dli_fbase);
  std::array<char, 1024> line{};
  std::snprintf(line.data(), line.size(), "addr2line -C -f -e '%s' 0x%zx 2>/dev/null",
                library.dli_fname, static_cast<size_t>(offset));
  std::string name;
  if (FILE* pipe = popen(line.data(), "r")) {
    if (std::fgets(line.data(), line.size(), pipe) != nullptr) name = line.data();
    pclose(pipe);
  }
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return name.empty() || name[0] == '?' ? "?" : name;
}

std::string where_we_are() {
  return "kernel " + kernel_name() + ", block " + triple(blockIdx.x, blockIdx.y, blockIdx.z);
}

const char* name_of(Wait wait) {
  switch (wait) {
    case Wait::kNone:
      return "nothing";
    case Wait::kBarrier:
      return "__syncthreads";
    case Wait::kSyncwarp:
      return "__syncwarp";
    case Wait::kShuffle:
      return "a shuffle";
    case Wait::kVote:
      return "a vote";
    case Wait::kMatch:
      return "a match";
    default:
      return "a warp reduction";
  }
}

void to_launcher() { switch_context(device.current->context, device.launcher, true); }

void wait_for_others() {
  while (device.current->wait != Wait::kNone) to_launcher();
}

bool same_site(const Site& a, const Site& b) {
  return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

// Lets the block pass its barrier when every thread that has not returned waits at the same one.
void try_barrier(const Site& site) {
  uint64_t votes = 0;
  for (int i = 0; i < device.threads; ++i) {
    const Fibre& fibre = device.fibres[i];
    if (fibre.done) continue;
    if (fibre.wait != Wait::kBarrier || !same_site(fibre.site, site)) return;
    votes += fibre.value;
  }
  for (int i = 0; i < device.threads; ++i) {
    Fibre& fibre = device.fibres[i];
    if (fibre.done) continue;
    fibre.value = votes;
    fibre.wait = Wait::kNone;
  }
}

// Completes a warp collective when every lane of the mask that has not returned waits at it.
void try_collective(const Fibre& arrived) {
  const int first = arrived.number - arrived.lane();
  const Wait kind = arrived.wait;
  const unsigned mask = arrived.mask;
  const Site site = arrived.site;
  std::array<uint64_t, warpSize> values{};
  unsigned present = 0;
  for (int lane = 0; lane < warpSize && first + lane < device.threads; ++lane) {
    const Fibre& fibre = device.fibres[first + lane];
    if (fibre.done || !((mask >> lane) & 1u)) continue;
    if (fibre.wait != kind || fibre.mask != mask || !same_site(fibre.site, site)) return;
    present |= 1u << lane;
    values[lane] = fibre.value;
  }
  uint64_t joint = 0;
  if (kind == Wait::kReduceMin) joint = static_cast<uint64_t>(INT64_MAX);
  if (kind == Wait::kReduceMax) joint = static_cast<uint64_t>(INT64_MIN);
  for (int lane = 0; lane < warpSize; ++lane) {
    if (!((present >> lane) & 1u)) continue;
    const uint64_t value = values[lane];
    switch (kind) {
      case Wait::kVote:
        joint |= value << lane;
        break;
      case Wait::kReduceAdd:
        joint += value;
        break;
      case Wait::kReduceBits:
        joint |= value;
        break;
      case Wait::kReduceMin:
        if (static_cast<int64_t>(value) < static_cast<int64_t>(joint)) joint = value;
        break;
      case Wait::kReduceMax:
        if (static_cast<int64_t>(value) > static_cast<int64_t>(joint)) joint = value;
        break;
      default:
        break;
    }
  }
  for (int lane = 0; lane < warpSize; ++lane) {
    if (!((present >> lane) & 1u)) continue;
    Fibre& fibre = device.fibres[first + lane];
    if (kind == Wait::kShuffle && !((present >> fibre.source) & 1u)) {
      device.error = where_we_are() + ", thread " +
                     triple(fibre.index.x, fibre.index.y, fibre.index.z) +
                     ": a shuffle reads lane " + std::to_string(fibre.source) +
                     ", which takes no part in it, at " + place(fibre.site);
      return;
    }
    if (kind == Wait::kShuffle) {
      fibre.value = values[fibre.source];
    } else if (kind == Wait::kMatch) {
      fibre.value = 0;
      for (int other = 0; other < warpSize; ++other) {
        const bool same = ((present >> other) & 1u) && values[other] == values[lane];
        fibre.value |= uint64_t{same} << other;
      }
    } else {
      fibre.value = joint;
    }
    fibre.wait = Wait::kNone;
  }
}

void fibre_main() {
#ifdef __SANITIZE_ADDRESS__
  arrived_in_fibre(nullptr, device.launcher);
#endif
  for (;;) {  // one turn per block
    device.body(device.argument);
    Fibre& self = *device.current;
    self.done = true;
    --device.running;
    // The others may have been waiting for this thread alone.
    const int first = self.number - self.lane();
    for (int i = first; i < std::min(first + warpSize, device.threads); ++i) {
      const Fibre& fibre = device.fibres[i];
      if (!fibre.done && fibre.wait > Wait::kBarrier) try_collective(fibre);
    }
    for (int i = 0; i < device.threads; ++i) {
      if (device.fibres[i].done) continue;
      if (device.fibres[i].wait == Wait::kBarrier) try_barrier(device.fibres[i].site);
      break;
    }
    to_launcher();
  }
}

std::string deadlock_report() {
  std::map<std::tuple<Wait, unsigned, std::string>, std::pair<int, const Fibre*>> groups;
  for (int i = 0; i < device.threads; ++i) {
    const Fibre& fibre = device.fibres[i];
    if (fibre.done) continue;
    auto& group = groups[{fibre.wait, fibre.mask, place(fibre.site)}];
    if (group.first++ == 0) group.second = &fibre;
  }
  std::string report = where_we_are() + ": deadlock, no thread can go on";
  for (const auto& [key, group] : groups) {
    const auto& [wait, mask, site] = key;
    const auto& [count, fibre] = group;
    std::array<char, 32> lanes{};
    if (wait != Wait::kBarrier) std::snprintf(lanes.data(), lanes.size(), " of lanes %08x", mask);
    report += "\n  thread " + triple(fibre->index.x, fibre->index.y, fibre->index.z) +
              (count > 1 ? " and " + std::to_string(count - 1) + " more wait" : " waits") +
              " for " + name_of(wait) + lanes.data() + " at " + site;
  }
  if (device.running < device.threads) {
    report += "\n  " + std::to_string(device.threads - device.running) + " threads have returned";
  }
  return report;
}

void run_block() {
  std::vector<int> order(device.threads);
  std::iota(order.begin(), order.end(), 0);
  device.running = device.threads;
  while (device.running > 0) {
    if (device.shuffled) std::shuffle(order.begin(), order.end(), device.order);
    bool ran = false, skipped = false;
    for (const int number : order) {
      Fibre& fibre = device.fibres[number];
      if (fibre.done || fibre.wait != Wait::kNone) continue;
      if (device.shuffled && device.order() % 4 == 0) {  // so that others run ahead
        skipped = true;
        continue;
      }
      ran = true;
      device.current = &fibre;
      threadIdx = fibre.index;
      switch_context(device.launcher, fibre.context, false);
      if (!device.error.empty()) return;
    }
    if (!ran && !skipped) {
      device.error = deadlock_report();
      return;
    }
  }
}

#ifndef __SANITIZE_ADDRESS__
thread_local char touch_thread_local_storage = 0;

// Fills the static shared memory: all thread-local variables of this library are that.
void poison_static_shared() {
  volatile char* touched = &touch_thread_local_storage;  // makes the loader allocate the range
  *touched = 1;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void*) {
        const auto self = reinterpret_cast<uintptr_t>(&run_block);
        bool ours = false;
        const ElfW(Phdr)* storage = nullptr;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          const uintptr_t start = info->dlpi_addr + header.p_vaddr;
          if (header.p_type == PT_LOAD && self >= start && self < start + header.p_memsz)
            ours = true;
          if (header.p_type == PT_TLS) storage = &header;
        }
        if (!ours) return 0;
        if (storage != nullptr && info->dlpi_tls_data != nullptr) {
          std::memset(info->dlpi_tls_data, 0xFF, storage->p_memsz);
        }
        return 1;
      },
      nullptr);
}
#else
void poison_static_shared() {}
#endif

}  // namespace

int block_barrier(bool predicate, Site site) {
  Fibre& self = *device.current;
  self.value = predicate;
  self.mask = 0;
  self.site = site;
  self.wait = Wait::kBarrier;
  try_barrier(site);
  wait_for_others();
  return static_cast<int>(self.value);
}

uint64_t warp_collective(Wait kind, unsigned mask, uint64_t value, int source, Site site) {
  Fibre& self = *device.current;
  if (!((mask >> self.lane()) & 1u)) fail("a lane calls a warp collective outside its mask", site);
  self.value = value;
  self.source = source;
  self.mask = mask;
  self.site = site;
  self.wait = kind;
  try_collective(self);
  wait_for_others();
  return self.value;
}

void yield() {
  if (device.shuffled && device.order() % 4 == 0) to_launcher();
}

void fail(const char* what, Site site) {
  device.error = where_we_are() + ", thread " + triple(threadIdx.x, threadIdx.y, threadIdx.z) +
                 ": " + what + " at " + place(site);
  for (;;) to_launcher();
}

unsigned active_mask() { return 1u << device.current->lane(); }
int lane_index() { return device.current->lane(); }
void* dynamic_shared_memory() { return device.shared; }

void run_grid(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, ThreadBody body,
              const void* context) {
  const std::lock_guard<std::mutex> lock(device.one_launch);
  device.kernel = kernel;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || blocks == 0 || grid.x > 0x7FFFFFFFu ||
      grid.y > 65535 || grid.z > 65535 || shared_bytes > 227 * 1024) {
    throw std::runtime_error("kernel launch: invalid configuration: grid " +
                             triple(grid.x, grid.y, grid.z) + ", block " +
                             triple(block.x, block.y, block.z) + ", shared memory " +
                             std::to_string(shared_bytes) + " bytes");
  }
  const char* seed = std::getenv("LEXFORGE_EMULATION_ORDER");
  device.shuffled = seed != nullptr;
  if (device.shuffled) device.order.seed(static_cast<uint32_t>(std::strtoul(seed, nullptr, 10)));
  device.body = body;
  device.argument = context;
  device.threads = static_cast<int>(threads);
  device.error.clear();
  blockDim = block;
  gridDim = grid;
  if (device.fibres.size() < threads) device.fibres.resize(threads);
  for (int i = 0; i < device.threads; ++i) {
    Fibre& fibre = device.fibres[i];
    fibre.number = i;
    fibre.index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    if (fibre.context.stack == nullptr) prepare_context(fibre.context, fibre_main);
  }
  std::vector<uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), uint64_t{0});
  if (device.shuffled) std::shuffle(order.begin(), order.end(), device.order);
  for (const uint64_t number : order) {
    blockIdx = {static_cast<unsigned>(number % grid.x),
                static_cast<unsigned>(number / grid.x % grid.y),
                static_cast<unsigned>(number / grid.x / grid.y)};
    poison_static_shared();
    if (shared_bytes > 0) {
      if (posix_memalign(&device.shared, 128, shared_bytes) != 0) {
        throw std::runtime_error("emulated device: no memory for shared memory");
      }
      std::memset(device.shared, 0xFF, shared_bytes);
    }
    for (int i = 0; i < device.threads; ++i) {
      device.fibres[i].done = false;
      device.fibres[i].wait = Wait::kNone;
    }
    run_block();
    std::free(device.shared);
    device.shared = nullptr;
    if (!device.error.empty()) {
      // The threads are left where they stand: their stacks start afresh at the next launch.
      for (Fibre& fibre : device.fibres) {
        if (fibre.context.stack != nullptr) prepare_context(fibre.context, fibre_main);
      }
      throw std::runtime_error(device.error);
    }
  }
}

}  // namespace lexforge::emulation
