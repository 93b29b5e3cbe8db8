// Loads, stores, atomics and asynchronous copies.
#include <algorithm>
#include <cmath>

#include "lanes.h"
#include "operations.h"

// Known if the process runs under the address sanitizer.
extern "C" __attribute__((weak)) void* __asan_region_is_poisoned(void* begin, size_t bytes);

namespace ptx {
namespace {

enum class Space { kGlobal, kShared, kLocal, kParameter };
enum class Access { kRead, kWrite, kAtomic };

constexpr uint64_t kNullPage = 65536;

[[noreturn]] void fail_alignment(const Warp& w, const Instruction& i, int lane, uint64_t at,
                                 uint32_t bytes) {
  fail(w, i, lane, "address " + std::to_string(at) + " is no multiple of " + std::to_string(bytes));
}
[[noreturn]] void fail_bounds(const Warp& w, const Instruction& i, int lane, const char* space,
                              uint64_t at, uint32_t bytes, size_t size) {
  fail(w, i, lane,
       std::string(space) + " address " + std::to_string(at) + " + " + std::to_string(bytes) +
           " is beyond the " + std::to_string(size) + " bytes there are");
}

void check_global(const Warp& w, const Instruction& i, int lane, uint64_t at, uint32_t bytes,
                  bool write) {
  if (at < kNullPage) fail(w, i, lane, "null pointer");
  if (__asan_region_is_poisoned != nullptr &&
      __asan_region_is_poisoned(reinterpret_cast<void*>(at), bytes) != nullptr) {
    fail(w, i, lane,
         std::string(write ? "write to" : "read of") + " memory that is not allocated, " +
             std::to_string(bytes) + " bytes at " + std::to_string(at));
  }
}

// Where the lanes' accesses of `bytes` go, after the checks.
template <Space kSpace, Access kAccess>
void locate(Warp& w, const Instruction& i, uint32_t lanes, uint32_t bytes, uint8_t* (&to)[kLanes]) {
  uint64_t at[kLanes];
  const auto offset = static_cast<uint64_t>(i.immediate);
  if (i.source_class == Class::kLong) {
    const auto base = source<uint64_t>(w, i.a);
    each(kAll, [&at, base, offset](int l) { at[l] = base[l] + offset; });
  } else {
    const auto base = source<uint32_t>(w, i.a);
    each(kAll, [&at, base, offset](int l) { at[l] = base[l] + offset; });
  }
  Block& block = *w.block;
  size_t size = 0;
  uint8_t* start = nullptr;
  const char* name = "";
  if constexpr (kSpace == Space::kShared) {
    size = block.shared.size();
    start = block.shared.data();
    name = "shared";
  } else if constexpr (kSpace == Space::kLocal) {
    size = block.launch->kernel->local_bytes;
    start = w.local.data();
    name = "local";
  } else if constexpr (kSpace == Space::kParameter) {
    size = block.launch->parameters.size();
    start = block.launch->parameters.data();
    name = "parameter";
  }
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    if (at[l] & (bytes - 1)) fail_alignment(w, i, l, at[l], bytes);
    if constexpr (kSpace == Space::kGlobal) {
      check_global(w, i, l, at[l], bytes, kAccess != Access::kRead);
      to[l] = reinterpret_cast<uint8_t*>(at[l]);
    } else {
      if (at[l] > size || bytes > size - at[l]) fail_bounds(w, i, l, name, at[l], bytes, size);
      to[l] = start + at[l];
      if constexpr (kSpace == Space::kLocal) to[l] += size * static_cast<size_t>(l);
    }
  }
  if constexpr (kSpace == Space::kShared) {
    if (!block.launch->settings.races) return;
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      block.races.access(w, i, l, static_cast<uint32_t>(at[l]), bytes, kAccess != Access::kRead,
                         kAccess == Access::kAtomic);
    }
  }
}

template <Space kSpace, typename T, int kWidth>
void load(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* from[kLanes];
  locate<kSpace, Access::kRead>(w, i, lanes, sizeof(T) * kWidth, from);
  using Slot = typename Lanes<T>::Slot;
  const bool plain = !i.sign && (i.value_class == Class::kLong) == (sizeof(T) == 8);
  if (plain) {
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      T values[kWidth];
      std::memcpy(values, from[l], sizeof values);
      for (int k = 0; k < kWidth; ++k) {
        target<Slot>(w, kWidth == 1 ? i.d : i.list[k]).set(l, values[k]);
      }
    }
    return;
  }
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    T values[kWidth];
    std::memcpy(values, from[l], sizeof values);
    for (int k = 0; k < kWidth; ++k) {
      put_raw(w, i.value_class, kWidth == 1 ? i.d : i.list[k], l,
              extend(values[k], sizeof(T), i.sign));
    }
  }
}

template <Space kSpace, typename T, int kWidth>
void store(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* to[kLanes];
  locate<kSpace, Access::kWrite>(w, i, lanes, sizeof(T) * kWidth, to);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    T values[kWidth];
    for (int k = 0; k < kWidth; ++k) {
      values[k] = static_cast<T>(raw(w, i.value_class, kWidth == 1 ? i.b : i.list[k], l));
    }
    std::memcpy(to[l], values, sizeof values);
  }
}

// The addresses that cvta.local makes of offsets: a lane's own memory on the host.
void local_address(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<uint64_t>(w, i.a);
  const auto d = target<uint64_t>(w, i.d);
  const uint64_t size = w.block->launch->kernel->local_bytes;
  const auto start = reinterpret_cast<uint64_t>(w.local.data());
  each(lanes, [=](int l) { d.set(l, a[l] + start + size * static_cast<uint64_t>(l)); });
}

// ---- atomics: a lane after the other

// What the ISA says of .f32 in global memory: subnormal operands and results are flushed.
struct AddFlushed {
  static float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
  static float apply(float a, float b) { return flushed(flushed(a) + flushed(b)); }
};
PTX_BINARY(Exchange, (void(a), b))
PTX_BINARY(Increment, a >= b ? T(0) : T(a + 1))        // 0 after b
PTX_BINARY(Decrement, a == 0 || a > b ? b : T(a - 1))  // b after 0

template <Space kSpace, typename T, typename F>
void atomic(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* at[kLanes];
  locate<kSpace, Access::kAtomic>(w, i, lanes, sizeof(T) * i.width, at);
  const auto d = target<T>(w, i.d);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    for (int k = 0; k < i.width; ++k) {
      uint8_t* const element = at[l] + static_cast<size_t>(k) * sizeof(T);
      T old;
      std::memcpy(&old, element, sizeof old);
      const T changed = F::apply(old, source<T>(w, i.width == 1 ? i.b : i.list[k])[l]);
      std::memcpy(element, &changed, sizeof changed);
      if (i.width == 1) d.set(l, old);
    }
  }
}
template <Space kSpace, typename T>
void compare_and_swap(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* at[kLanes];
  locate<kSpace, Access::kAtomic>(w, i, lanes, sizeof(T), at);
  const auto expected = source<T>(w, i.b), wanted = source<T>(w, i.c);
  const auto d = target<T>(w, i.d);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    T old;
    std::memcpy(&old, at[l], sizeof old);
    if (old == expected[l]) {
      const T value = wanted[l];
      std::memcpy(at[l], &value, sizeof value);
    }
    d.set(l, old);
  }
}

// ---- asynchronous copies
//
// They happen between their issue and the wait, nobody knows when: late here, or early if the
// settings say so. For the race check they write at both ends.

void do_copy(Warp& w, const Copy& copy) {
  uint8_t* to = w.block->shared.data() + copy.to;
  std::memcpy(to, reinterpret_cast<const void*>(copy.from), copy.from_bytes);
  std::memset(to + copy.from_bytes, 0, copy.bytes - copy.from_bytes);
}

// cp.async.ca.shared.global [a + immediate], [b], bytes, c;
void copy_async(Warp& w, const Instruction& i, uint32_t lanes) {
  Block& block = *w.block;
  const Settings& settings = block.launch->settings;
  const auto from = source<uint64_t>(w, i.b);
  const auto wanted = source<uint32_t>(w, i.c);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const uint64_t to = raw(w, i.source_class, i.a, l) + static_cast<uint64_t>(i.immediate);
    const uint32_t bytes = wanted[l];
    if (to % i.bytes != 0) fail_alignment(w, i, l, to, i.bytes);
    if (from[l] % i.bytes != 0) fail_alignment(w, i, l, from[l], i.bytes);
    if (bytes > i.bytes) {
      fail(w, i, l,
           "copies " + std::to_string(bytes) + " of " + std::to_string(i.bytes) + " bytes");
    }
    if (to + i.bytes > block.shared.size()) {
      fail_bounds(w, i, l, "shared", to, i.bytes, block.shared.size());
    }
    if (bytes > 0) check_global(w, i, l, from[l], bytes, false);
    const auto at = static_cast<uint32_t>(to);
    if (settings.races) block.races.access(w, i, l, at, i.bytes, true, false);
    const Copy copy{at,    from[l], i.bytes, static_cast<uint8_t>(bytes), settings.early_copies,
                    false, &i};
    if (copy.done) do_copy(w, copy);
    w.copies[l].push_back(copy);
  }
}
void commit_copies(Warp& w, const Instruction&, uint32_t lanes) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    Copy end{};
    end.last_of_group = true;
    w.copies[l].push_back(end);
    ++w.groups[l];
  }
}
// Until at most `immediate` groups are under way; below 0: until nothing is.
void wait_for_copies(Warp& w, const Instruction& i, uint32_t lanes) {
  Block& block = *w.block;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    std::vector<Copy>& copies = w.copies[l];
    std::ptrdiff_t over = 0;
    while (over < std::ssize(copies) && (i.immediate < 0 || w.groups[l] > i.immediate)) {
      const Copy& copy = copies[static_cast<size_t>(over++)];
      if (copy.last_of_group) {
        --w.groups[l];
        continue;
      }
      if (!copy.done) do_copy(w, copy);
      if (block.launch->settings.races) {
        block.races.access(w, *copy.instruction, l, copy.to, copy.bytes, true, false);
      }
    }
    copies.erase(copies.begin(), copies.begin() + over);
  }
}

// ---- the table

template <Space kSpace, typename T>
void add_accesses(Actions& t, const std::string& space) {
  const std::string bytes = "." + std::to_string(sizeof(T));
  t["ld." + space + bytes + ".1"] = load<kSpace, T, 1>;
  if constexpr (sizeof(T) <= 8) t["ld." + space + bytes + ".2"] = load<kSpace, T, 2>;
  if constexpr (sizeof(T) <= 4) t["ld." + space + bytes + ".4"] = load<kSpace, T, 4>;
  if constexpr (kSpace != Space::kParameter) {
    t["st." + space + bytes + ".1"] = store<kSpace, T, 1>;
    if constexpr (sizeof(T) <= 8) t["st." + space + bytes + ".2"] = store<kSpace, T, 2>;
    if constexpr (sizeof(T) <= 4) t["st." + space + bytes + ".4"] = store<kSpace, T, 4>;
  }
}
template <Space kSpace>
void add_space(Actions& t, const std::string& name) {
  add_accesses<kSpace, uint8_t>(t, name);
  add_accesses<kSpace, uint16_t>(t, name);
  add_accesses<kSpace, uint32_t>(t, name);
  add_accesses<kSpace, uint64_t>(t, name);
}

template <Space kSpace, typename T>
void add_atomics(Actions& t, const std::string& space, const std::string& type) {
  using U = std::make_unsigned_t<T>;
  const std::string base = "atom." + space + ".";
  t[base + "add." + type] = atomic<kSpace, U, Add>;
  t[base + "min." + type] = atomic<kSpace, T, Min>;
  t[base + "max." + type] = atomic<kSpace, T, Max>;
  t[base + "and." + type] = atomic<kSpace, U, And>;
  t[base + "or." + type] = atomic<kSpace, U, Or>;
  t[base + "xor." + type] = atomic<kSpace, U, Xor>;
  t[base + "exch." + type] = atomic<kSpace, U, Exchange>;
  t[base + "cas." + type] = compare_and_swap<kSpace, U>;
  if constexpr (std::is_same_v<T, uint32_t>) {
    t[base + "inc." + type] = atomic<kSpace, T, Increment>;
    t[base + "dec." + type] = atomic<kSpace, T, Decrement>;
  }
}
template <Space kSpace>
void add_atomics(Actions& t, const std::string& space) {
  add_atomics<kSpace, uint32_t>(t, space, "u32");
  add_atomics<kSpace, int32_t>(t, space, "s32");
  add_atomics<kSpace, uint32_t>(t, space, "b32");
  add_atomics<kSpace, uint64_t>(t, space, "u64");
  add_atomics<kSpace, int64_t>(t, space, "s64");
  add_atomics<kSpace, uint64_t>(t, space, "b64");
  t["atom." + space + ".add.f64"] = atomic<kSpace, double, Add>;
}

}  // namespace

void add_memory(Actions& t) {
  add_space<Space::kGlobal>(t, "global");
  add_space<Space::kShared>(t, "shared");
  add_space<Space::kLocal>(t, "local");
  add_space<Space::kParameter>(t, "param");
  add_atomics<Space::kGlobal>(t, "global");
  add_atomics<Space::kShared>(t, "shared");
  t["atom.global.add.f32"] = atomic<Space::kGlobal, float, AddFlushed>;
  t["atom.shared.add.f32"] = atomic<Space::kShared, float, Add>;
  t["cvta.local"] = local_address;
  t["cp.async"] = copy_async;
  t["cp.commit"] = commit_copies;
  t["cp.wait"] = wait_for_copies;
}

}  // namespace ptx
