// A register seen as 32 values of a type, for what instructions do.
#pragma once

#include <cstring>
#include <string>
#include <type_traits>
#include <unordered_map>

#include "machine.h"

namespace ptx {

using Actions = std::unordered_map<std::string, Action>;

void add_arithmetic(Actions& table);
void add_conversions(Actions& table);
void add_memory(Actions& table);
void add_collectives(Actions& table);
void add_tensor_core(Actions& table);

template <size_t kBytes>
using Bits = std::conditional_t<
    kBytes == 8, uint64_t,
    std::conditional_t<kBytes == 4, uint32_t, std::conditional_t<kBytes == 2, uint16_t, uint8_t>>>;

template <typename To, typename From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <typename T>
class Lanes {
 public:
  using Slot = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  explicit Lanes(const uint8_t* at) : slots_(reinterpret_cast<const Slot*>(at)) {}
  T operator[](int lane) const { return bit_cast<T>(static_cast<Bits<sizeof(T)>>(slots_[lane])); }

 protected:
  const Slot* slots_;
};

template <typename T>
class Results : public Lanes<T> {
 public:
  using typename Lanes<T>::Slot;
  explicit Results(uint8_t* at) : Lanes<T>(at) {}
  void set(int lane, T value) const {
    const_cast<Slot*>(this->slots_)[lane] = bit_cast<Bits<sizeof(T)>>(value);
  }
};

template <typename T>
inline Lanes<T> source(const Warp& warp, uint32_t at) {
  // An odd place is one more than an offset in the constants, whose base is one less.
  return Lanes<T>(warp.bases[at & 1] + at);
}
template <typename T>
inline Results<T> target(Warp& warp, uint32_t at) {
  return Results<T>(warp.file + at);
}

// f(lane) for the lanes of a set; vectorised if it is a whole warp's.
template <typename F>
inline __attribute__((always_inline)) void each(uint32_t lanes, F&& f) {
  if (lanes == kAll) {
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; ++lane) f(lane);
  } else {
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) f(__builtin_ctz(rest));
  }
}

inline uint64_t extend(uint64_t value, int bytes, bool sign) {
  const int unused = 64 - 8 * bytes;
  return sign ? static_cast<uint64_t>(static_cast<int64_t>(value << unused) >> unused)
              : value << unused >> unused;
}

// Registers whose class is known at run time only.
inline uint64_t raw(const Warp& warp, Class cls, uint32_t at, int lane) {
  return cls == Class::kLong ? source<uint64_t>(warp, at)[lane] : source<uint32_t>(warp, at)[lane];
}
inline void put_raw(Warp& warp, Class cls, uint32_t at, int lane, uint64_t value) {
  if (cls == Class::kLong) {
    target<uint64_t>(warp, at).set(lane, value);
  } else {
    target<uint32_t>(warp, at).set(lane, static_cast<uint32_t>(value));
  }
}

}  // namespace ptx
