// What the instructions do, by the PTX ISA.
#include <cfenv>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <type_traits>

#include "machine.h"

namespace ptx {
namespace {

// ---- lanes

template <typename T>
using Slot = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <size_t kBytes>
using Bits = std::conditional_t<
    kBytes == 8, uint64_t,
    std::conditional_t<kBytes == 4, uint32_t, std::conditional_t<kBytes == 2, uint16_t, uint8_t>>>;

template <typename To, typename From>
inline To cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <typename T>
inline T get(const uint8_t* file, uint32_t at, int lane) {
  const Slot<T> slot = reinterpret_cast<const Slot<T>*>(file + at)[lane];
  return cast<T>(static_cast<Bits<sizeof(T)>>(slot));
}
template <typename T>
inline void put(uint8_t* file, uint32_t at, int lane, T value) {
  reinterpret_cast<Slot<T>*>(file + at)[lane] = cast<Bits<sizeof(T)>>(value);
}

template <typename F>
inline __attribute__((always_inline)) void each(uint32_t lanes, F&& f) {
  if (lanes == kAll) {
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; ++lane) f(lane);
  } else {
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) f(__builtin_ctz(rest));
  }
}

inline void set_predicate(Warp& w, uint32_t at, uint32_t lanes, uint32_t value) {
  uint32_t& p = w.predicate(at);
  p = (p & ~lanes) | (value & lanes);
}

// ---- arithmetic of one, two or three operands

template <typename T, typename F>
void unary(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  each(lanes, [&](int l) { put<T>(file, i.d, l, F::apply(get<T>(file, i.a, l))); });
}
template <typename R, typename T, typename F>
void unary_to(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  each(lanes, [&](int l) { put<R>(file, i.d, l, F::apply(get<T>(file, i.a, l))); });
}
template <typename T, typename F>
void binary(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  each(lanes,
       [&](int l) { put<T>(file, i.d, l, F::apply(get<T>(file, i.a, l), get<T>(file, i.b, l))); });
}
template <typename T, typename F>
void ternary(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  each(lanes, [&](int l) {
    put<T>(file, i.d, l,
           F::apply(get<T>(file, i.a, l), get<T>(file, i.b, l), get<T>(file, i.c, l)));
  });
}
template <typename T, typename F>
void shift(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  each(lanes, [&](int l) {
    put<T>(file, i.d, l, F::apply(get<T>(file, i.a, l), get<uint32_t>(file, i.b, l)));
  });
}
template <typename R, typename T>
void multiply_wide(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  each(lanes,
       [&](int l) { put<R>(file, i.d, l, R(get<T>(file, i.a, l)) * R(get<T>(file, i.b, l))); });
}
template <typename R, typename T>
void multiply_add_wide(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  using U = std::make_unsigned_t<R>;
  each(lanes, [&](int l) {
    put<U>(file, i.d, l,
           U(R(get<T>(file, i.a, l)) * R(get<T>(file, i.b, l))) + get<U>(file, i.c, l));
  });
}
template <typename T, typename F>
void compare(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint8_t* file = w.file;
  uint32_t result = 0;
  each(lanes, [&](int l) {
    result |= uint32_t{F::apply(get<T>(file, i.a, l), get<T>(file, i.b, l))} << l;
  });
  set_predicate(w, i.d, lanes, result);
}
template <typename T>
void divide(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    const T a = get<T>(w.file, i.a, l), b = get<T>(w.file, i.b, l);
    if (b == 0) fail(w, i, l, "division of an integer by zero");
    if (std::is_signed_v<T> && a == std::numeric_limits<T>::min() && b == T(-1)) {
      put<T>(w.file, i.d, l, a);
    } else {
      put<T>(w.file, i.d, l, a / b);
    }
  });
}
template <typename T>
void remainder(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    const T a = get<T>(w.file, i.a, l), b = get<T>(w.file, i.b, l);
    if (b == 0) fail(w, i, l, "remainder of an integer by zero");
    put<T>(w.file, i.d, l, b == T(-1) ? 0 : a % b);
  });
}

#define FUNCTOR(name, ...)       \
  struct name {                  \
    template <typename T>        \
    static inline T apply(T a) { \
      return __VA_ARGS__;        \
    }                            \
  };
#define FUNCTOR2(name, ...)           \
  struct name {                       \
    template <typename T>             \
    static inline T apply(T a, T b) { \
      return __VA_ARGS__;             \
    }                                 \
  };
#define FUNCTOR3(name, ...)                \
  struct name {                            \
    template <typename T>                  \
    static inline T apply(T a, T b, T c) { \
      return __VA_ARGS__;                  \
    }                                      \
  };
#define COMPARISON(name, ...)            \
  struct name {                          \
    template <typename T>                \
    static inline bool apply(T a, T b) { \
      return __VA_ARGS__;                \
    }                                    \
  };
#define SHIFT(name, ...)                     \
  struct name {                              \
    template <typename T>                    \
    static inline T apply(T a, uint32_t b) { \
      return __VA_ARGS__;                    \
    }                                        \
  };

FUNCTOR2(Add, T(a + b))
FUNCTOR2(Sub, T(a - b))
FUNCTOR2(Mul, T(a* b))
FUNCTOR2(And, T(a& b))
FUNCTOR2(Or, T(a | b))
FUNCTOR2(Xor, T(a ^ b))
FUNCTOR2(Divide, a / b)
FUNCTOR2(Min, a < b ? a : b)
FUNCTOR2(Max, a > b ? a : b)
// The other one if one is no number; -0 is below +0.
FUNCTOR2(MinFloat, a != a ? b : b != b ? a : a < b ? a : b < a ? b : std::signbit(a) ? a : b)
FUNCTOR2(MaxFloat, a != a ? b : b != b ? a : a > b ? a : b > a ? b : std::signbit(a) ? b : a)
FUNCTOR2(CopySign, std::copysign(b, a))  // a's sign, b's magnitude
FUNCTOR(Neg, T(-a))
FUNCTOR(Not, T(~a))
FUNCTOR(Abs, T(a < 0 ? -a : a))
FUNCTOR(AbsFloat, std::fabs(a))
FUNCTOR(Sqrt, std::sqrt(a))
FUNCTOR(Reciprocal, T(1) / a)
FUNCTOR(ReciprocalRoot, T(T(1) / std::sqrt(static_cast<double>(a))))
FUNCTOR(Exp2, std::exp2(a))
FUNCTOR(Log2, std::log2(a))
FUNCTOR(Nearest, std::nearbyint(a))
FUNCTOR(Truncate, std::trunc(a))
FUNCTOR(Floor, std::floor(a))
FUNCTOR(Saturate, a != a ? T(0) : a < 0 ? T(0) : a > 1 ? T(1) : a)
FUNCTOR3(Fma, std::fma(a, b, c))
FUNCTOR3(MadLow, T(a* b + c))
SHIFT(ShiftLeft, b >= 8 * sizeof(T) ? T(0) : T(a << b))
SHIFT(ShiftRight, b >= 8 * sizeof(T) ? T(std::is_signed_v<T> && a < 0 ? -1 : 0) : T(a >> b))
COMPARISON(Equal, a == b)
COMPARISON(NotEqual, a != b && a == a && b == b)
COMPARISON(Less, a < b)
COMPARISON(LessEqual, a <= b)
COMPARISON(Greater, a > b)
COMPARISON(GreaterEqual, a >= b)
COMPARISON(EqualU, !(a < b || a > b))
COMPARISON(NotEqualU, !(a == b))
COMPARISON(LessU, !(a >= b))
COMPARISON(LessEqualU, !(a > b))
COMPARISON(GreaterU, !(a <= b))
COMPARISON(GreaterEqualU, !(a < b))
COMPARISON(Numbers, a == a && b == b)
COMPARISON(NoNumber, a != a || b != b)

float flush(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
struct Exp2Flushed {
  static float apply(float a) { return flush(std::exp2(flush(a))); }
};
struct ReciprocalFlushed {
  static float apply(float a) { return flush(1.0f / flush(a)); }
};
// The upper half of the result is right, the lower one zero.
struct ReciprocalUpper {
  static double apply(double a) {
    if (std::fabs(a) < 0x1p-1022) a = std::copysign(0.0, a);
    const double y = 1.0 / a;
    if (std::fabs(y) < 0x1p-1022) return std::copysign(0.0, y);
    return cast<double>(cast<uint64_t>(y) & 0xFFFFFFFF00000000u);
  }
};

template <int kMode>
struct FmaRounded {
  __attribute__((noinline)) static float apply(float a, float b, float c) {
    const int before = std::fegetround();
    std::fesetround(kMode);
    volatile float x = a, y = b, z = c;
    volatile float result = std::fma(x, y, z);
    std::fesetround(before);
    return result;
  }
};
template <int kMode>
struct AddRounded {
  __attribute__((noinline)) static float apply(float a, float b) {
    const int before = std::fegetround();
    std::fesetround(kMode);
    volatile float x = a, y = b;
    volatile float result = x + y;
    std::fesetround(before);
    return result;
  }
};

struct PopCount {
  template <typename T>
  static uint32_t apply(T a) {
    return static_cast<uint32_t>(__builtin_popcountll(a));
  }
};
struct LeadingZeros {
  template <typename T>
  static uint32_t apply(T a) {
    const int unused = 64 - static_cast<int>(8 * sizeof(T));
    return a == 0 ? 8 * sizeof(T) : static_cast<uint32_t>(__builtin_clzll(a) - unused);
  }
};
struct Reverse {
  template <typename T>
  static T apply(T a) {
    T result = 0;
    for (size_t bit = 0; bit < 8 * sizeof(T); ++bit) {
      result |= T(a >> bit & 1) << (8 * sizeof(T) - 1 - bit);
    }
    return result;
  }
};
struct MulHigh {
  template <typename T>
  static T apply(T a, T b) {
    if constexpr (sizeof(T) == 8) {
      using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
      return static_cast<T>(static_cast<Wide>(a) * b >> 64);
    } else {
      using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
      return static_cast<T>(static_cast<Wide>(a) * b >> (8 * sizeof(T)));
    }
  }
};
// `width` ones from bit `first` on; both clamped.
struct BitMask {
  static uint32_t apply(uint32_t first, uint32_t width) {
    if (first > 31) return 0;
    const uint64_t ones = (uint64_t{1} << (width > 32 ? 32 : width)) - 1;
    return static_cast<uint32_t>(ones << first);
  }
};

template <typename T>
void bit_field_insert(Warp& w, const Instruction& i, uint32_t lanes) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  each(lanes, [&](int l) {
    const T a = get<T>(w.file, i.a, l);
    T result = get<T>(w.file, i.b, l);
    const uint32_t first = get<uint32_t>(w.file, i.c, l) & 0xFF,
                   width = get<uint32_t>(w.file, i.e, l) & 0xFF;
    for (uint32_t k = 0; k < width && first + k < kBits; ++k) {
      result = (result & ~(T(1) << (first + k))) | (T(a >> k & 1) << (first + k));
    }
    put<T>(w.file, i.d, l, result);
  });
}

template <typename T>
void select(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  const uint32_t p = w.predicate(i.c);
  each(lanes, [&](int l) {
    const T a = get<T>(file, i.a, l), b = get<T>(file, i.b, l);
    put<T>(file, i.d, l, p >> l & 1 ? a : b);
  });
}
template <typename T>
void move(Warp& w, const Instruction& i, uint32_t lanes) {
  uint8_t* file = w.file;
  each(lanes, [&](int l) { put<T>(file, i.d, l, get<T>(file, i.a, l)); });
}
template <typename T, typename Half>
void pack(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    const T low = get<Half>(w.file, i.list[0], l), high = get<Half>(w.file, i.list[1], l);
    put<T>(w.file, i.d, l, low | high << (8 * sizeof(Half)));
  });
}
template <typename T, typename Half>
void unpack(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    const T value = get<T>(w.file, i.a, l);
    put<Half>(w.file, i.list[0], l, static_cast<Half>(value));
    put<Half>(w.file, i.list[1], l, static_cast<Half>(value >> (8 * sizeof(Half))));
  });
}

template <typename F>
void predicates(Warp& w, const Instruction& i, uint32_t lanes) {
  set_predicate(w, i.d, lanes, F::apply(w.predicate(i.a), w.predicate(i.b)));
}
void not_predicate(Warp& w, const Instruction& i, uint32_t lanes) {
  set_predicate(w, i.d, lanes, ~w.predicate(i.a));
}
void move_predicate(Warp& w, const Instruction& i, uint32_t lanes) {
  set_predicate(w, i.d, lanes, w.predicate(i.a));
}

// ---- conversions

inline uint64_t raw(const Warp& w, Class cls, uint32_t at, int lane) {
  return cls == Class::kLong ? reinterpret_cast<const uint64_t*>(w.file + at)[lane]
                             : reinterpret_cast<const uint32_t*>(w.file + at)[lane];
}
inline void put_raw(Warp& w, Class cls, uint32_t at, int lane, uint64_t value) {
  if (cls == Class::kLong) {
    w.longs(at)[lane] = value;
  } else {
    w.words(at)[lane] = static_cast<uint32_t>(value);
  }
}
inline uint64_t extend(uint64_t value, int bytes, bool sign) {
  const int unused = 64 - 8 * bytes;
  return sign ? static_cast<uint64_t>(static_cast<int64_t>(value << unused) >> unused)
              : value << unused >> unused;
}

void convert_integer(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    uint64_t value = extend(raw(w, i.source_class, i.a, l), i.bytes, i.sign);
    value = extend(value, static_cast<int>(i.e), i.negated);
    // A register of 16 bits has its value in the lower half of a word.
    if (i.e < 4) value &= (uint64_t{1} << (i.value_class == Class::kWord ? 32 : 63)) - 1;
    put_raw(w, i.value_class, i.d, l, value);
  });
}

template <typename To, typename From, bool kTruncate>
void convert(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    const From value = static_cast<From>(
        std::is_floating_point_v<From>
            ? get<From>(w.file, i.a, l)
            : cast<From>(static_cast<Bits<sizeof(From)>>(raw(w, i.source_class, i.a, l))));
    To result;
    if constexpr (std::is_floating_point_v<From> && !std::is_floating_point_v<To>) {
      const double whole = kTruncate ? std::trunc(static_cast<double>(value))
                                     : std::nearbyint(static_cast<double>(value));
      constexpr double kTop = sizeof(To) == 8 ? (std::is_signed_v<To> ? 0x1p63 : 0x1p64)
                                              : (std::is_signed_v<To> ? 0x1p31 : 0x1p32);
      if (whole != whole) {
        result = sizeof(To) == 8 ? To(uint64_t{1} << 63) : To(0);
      } else if (whole >= kTop) {
        result = std::numeric_limits<To>::max();
      } else if (whole <= (std::is_signed_v<To> ? -kTop : 0.0)) {
        result = std::numeric_limits<To>::min();
      } else {
        result = static_cast<To>(whole);
      }
      put_raw(w, i.value_class, i.d, l, static_cast<Bits<sizeof(To)>>(result));
    } else {
      result = static_cast<To>(value);
      put<To>(w.file, i.d, l, result);
    }
  });
}

uint32_t to_bf16(float value) {
  const auto bits = cast<uint32_t>(value);
  if (value != value) return 0x7FFF;
  const uint32_t below = bits & 0xFFFF, upper = bits >> 16;
  return upper + (below > 0x8000 || (below == 0x8000 && upper & 1));
}
float from_bf16(uint32_t bits) { return cast<float>(bits << 16); }

// a into the upper half, b into the lower one.
void convert_bf16x2(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    const uint32_t upper = to_bf16(get<float>(w.file, i.a, l)),
                   lower = to_bf16(get<float>(w.file, i.b, l));
    put<uint32_t>(w.file, i.d, l, upper << 16 | lower);
  });
}

// ---- memory

enum class Space { kGlobal, kShared, kParameter };

// Where a lane's access goes, after the checks.
template <Space kSpace>
inline uint8_t* place(Warp& w, const Instruction& i, int lane, bool write, bool atomic = false) {
  const uint32_t bytes = uint32_t{i.bytes} * i.width;
  const uint64_t at = raw(w, i.source_class, i.a, lane) + static_cast<uint64_t>(i.offset);
  if (at % bytes != 0) {
    fail(w, i, lane,
         "address " + std::to_string(at) + " is no multiple of " + std::to_string(bytes));
  }
  if constexpr (kSpace == Space::kShared) {
    const auto here = static_cast<uint32_t>(at);
    std::vector<uint8_t>& shared = w.block->shared;
    if (uint64_t{here} + bytes > shared.size()) {
      fail(w, i, lane,
           "shared address " + std::to_string(here) + " + " + std::to_string(bytes) +
               " is beyond the block's " + std::to_string(shared.size()) + " bytes");
    }
    if (w.block->launch->check_races) check_race(w, i, lane, here, bytes, write, atomic);
    return shared.data() + here;
  } else if constexpr (kSpace == Space::kParameter) {
    std::vector<uint8_t>& parameters = w.block->launch->parameters;
    if (at + bytes > parameters.size()) fail(w, i, lane, "parameter beyond the end");
    return parameters.data() + at;
  } else {
    check_global(w, i, lane, at, bytes, write);
    return reinterpret_cast<uint8_t*>(at);
  }
}

template <Space kSpace>
void load(Warp& w, const Instruction& i, uint32_t lanes) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const uint8_t* from = place<kSpace>(w, i, l, false);
    uint64_t values[4] = {};
    for (int k = 0; k < i.width; ++k) {
      std::memcpy(&values[k], from + k * i.bytes, i.bytes);
      if (i.sign) values[k] = extend(values[k], i.bytes, true);
    }
    for (int k = 0; k < i.width; ++k) put_raw(w, i.value_class, i.list[k], l, values[k]);
  }
}
template <Space kSpace>
void store(Warp& w, const Instruction& i, uint32_t lanes) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    uint8_t* to = place<kSpace>(w, i, l, true);
    for (int k = 0; k < i.width; ++k) {
      const uint64_t value = raw(w, i.value_class, i.list[k], l);
      std::memcpy(to + k * i.bytes, &value, i.bytes);
    }
  }
}
template <Space kSpace, typename T, typename F>
void atomic(Warp& w, const Instruction& i, uint32_t lanes) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    uint8_t* at = place<kSpace>(w, i, l, true, true);
    for (int k = 0; k < i.width; ++k) {
      T old;
      std::memcpy(&old, at + k * sizeof(T), sizeof(T));
      const T changed = F::apply(old, get<T>(w.file, i.list[k], l));
      std::memcpy(at + k * sizeof(T), &changed, sizeof(T));
      if (i.width == 1) put<T>(w.file, i.d, l, old);
    }
  }
}
template <Space kSpace, typename T>
void compare_and_swap(Warp& w, const Instruction& i, uint32_t lanes) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    uint8_t* at = place<kSpace>(w, i, l, true, true);
    T old;
    std::memcpy(&old, at, sizeof(T));
    if (old == get<T>(w.file, i.list[0], l)) {
      const T value = get<T>(w.file, i.c, l);
      std::memcpy(at, &value, sizeof(T));
    }
    put<T>(w.file, i.d, l, old);
  }
}
FUNCTOR2(Exchange, (void(a), b))

// ---- asynchronous copies: done when they are waited for, or, early_copies, at once

void do_copy(Warp& w, const Copy& copy) {
  uint8_t* to = w.block->shared.data() + copy.to;
  std::memcpy(to, reinterpret_cast<const void*>(copy.from), copy.from_bytes);
  std::memset(to + copy.from_bytes, 0, copy.bytes - copy.from_bytes);
}
void copy_async(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    const uint64_t to = raw(w, i.source_class, i.a, l) + static_cast<uint64_t>(i.offset);
    const uint64_t from = w.longs(i.b)[l];
    const uint32_t wanted = w.words(i.c)[l];
    if (to % i.bytes != 0 || from % i.bytes != 0) fail(w, i, l, "cp.async: not aligned");
    if (wanted > i.bytes) fail(w, i, l, "cp.async: more bytes than " + std::to_string(i.bytes));
    if (to + i.bytes > w.block->shared.size()) fail(w, i, l, "cp.async: beyond shared memory");
    if (wanted > 0) check_global(w, i, l, from, wanted, false);
    if (w.block->launch->check_races) {
      check_race(w, i, l, static_cast<uint32_t>(to), i.bytes, true, false);
    }
    const Copy copy{static_cast<uint32_t>(to), from, i.bytes, static_cast<uint8_t>(wanted), false};
    if (w.block->launch->early_copies) {
      do_copy(w, copy);
    } else {
      w.copies[l].push_back(copy);
    }
  });
}
void commit_copies(Warp& w, const Instruction&, uint32_t lanes) {
  each(lanes, [&](int l) {
    w.copies[l].push_back({0, 0, 0, 0, true});
    ++w.groups[l];
  });
}
void wait_for_copies(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&](int l) {
    std::vector<Copy>& copies = w.copies[l];
    size_t done = 0;
    while (done < copies.size() && (i.offset < 0 || w.groups[l] > i.offset)) {
      const Copy& copy = copies[done++];
      if (copy.last_of_group) {
        --w.groups[l];
      } else {
        do_copy(w, copy);
      }
    }
    copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(done));
  });
}

// ---- instructions of several lanes

enum class Shuffle { kUp, kDown, kButterfly, kIndex };

template <Shuffle kMode>
void shuffle(Warp& w, const Instruction& i, uint32_t lanes) {
  uint32_t values[kLanes], results[kLanes], inside = 0;
  std::memcpy(values, w.words(i.a), sizeof values);
  each(lanes, [&](int lane) {
    const int b = static_cast<int>(w.words(i.b)[lane] & 31);
    const uint32_t c = w.words(i.c)[lane];
    const int clamp = static_cast<int>(c & 31), segment = static_cast<int>(c >> 8 & 31);
    const int top = (lane & segment) | (clamp & ~segment & 31), bottom = lane & segment;
    int from = 0;
    bool valid = false;
    switch (kMode) {
      case Shuffle::kUp:
        from = lane - b;
        valid = from >= top;
        break;
      case Shuffle::kDown:
        from = lane + b;
        valid = from <= top;
        break;
      case Shuffle::kButterfly:
        from = lane ^ b;
        valid = from <= top;
        break;
      case Shuffle::kIndex:
        from = bottom | (b & ~segment & 31);
        valid = from <= top;
        break;
    }
    if (!valid) from = lane;
    if (!(lanes >> from & 1)) {
      fail(w, i, lane, "a shuffle reads lane " + std::to_string(from) + ", which takes no part");
    }
    results[lane] = values[from];
    inside |= uint32_t{valid} << lane;
  });
  each(lanes, [&](int lane) { w.words(i.d)[lane] = results[lane]; });
  set_predicate(w, i.d2, lanes, inside);
}

uint32_t votes(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t p = w.predicate(i.a);
  return (i.negated ? ~p : p) & lanes;
}
void ballot(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t yes = votes(w, i, lanes);
  each(lanes, [&](int l) { w.words(i.d)[l] = yes; });
}
void any(Warp& w, const Instruction& i, uint32_t lanes) {
  set_predicate(w, i.d, lanes, votes(w, i, lanes) != 0 ? kAll : 0);
}
void all(Warp& w, const Instruction& i, uint32_t lanes) {
  set_predicate(w, i.d, lanes, votes(w, i, lanes) == lanes ? kAll : 0);
}
template <typename T>
void match_any(Warp& w, const Instruction& i, uint32_t lanes) {
  uint32_t results[kLanes] = {};
  each(lanes, [&](int l) {
    each(lanes, [&](int other) {
      results[l] |= uint32_t{get<T>(w.file, i.a, l) == get<T>(w.file, i.a, other)} << other;
    });
  });
  each(lanes, [&](int l) { w.words(i.d)[l] = results[l]; });
}
template <typename T, typename F>
void reduce(Warp& w, const Instruction& i, uint32_t lanes) {
  T result{};
  bool first = true;
  each(lanes & kAll, [&](int l) {
    const T value = get<T>(w.file, i.a, l);
    result = first ? value : F::apply(result, value);
    first = false;
  });
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    put<T>(w.file, i.d, __builtin_ctz(rest), result);
  }
}

// Lane 8 m + r brings the address of row r of matrix m. Lane l gets of every matrix the elements
// 2 (l % 4) and 2 (l % 4) + 1 of row l / 4; of the transposed matrix with .trans.
template <bool kTransposed>
void load_matrices(Warp& w, const Instruction& i, uint32_t) {
  uint16_t matrices[4][8][8];
  for (int l = 0; l < kLanes; ++l) {
    const uint64_t at = raw(w, i.source_class, i.a, l) + static_cast<uint64_t>(i.offset);
    if (at % 16 != 0) fail(w, i, l, "ldmatrix: a row's address is no multiple of 16");
    if (at + 16 > w.block->shared.size()) fail(w, i, l, "ldmatrix: beyond shared memory");
    if (w.block->launch->check_races) {
      check_race(w, i, l, static_cast<uint32_t>(at), 16, false, false);
    }
    std::memcpy(matrices[l / 8][l % 8], w.block->shared.data() + at, 16);
  }
  for (int l = 0; l < kLanes; ++l) {
    const int row = l / 4, column = 2 * (l % 4);
    for (int m = 0; m < 4; ++m) {
      const uint32_t low = kTransposed ? matrices[m][column][row] : matrices[m][row][column],
                     high =
                         kTransposed ? matrices[m][column + 1][row] : matrices[m][row][column + 1];
      w.words(i.list[m])[l] = low | high << 16;
    }
  }
}

// D = A B + C of 16 x 8 x 16. By "Matrix Fragments for mma.m16n8k16 with floating point type":
// group = lane >> 2, t = lane % 4;
//   A  element i: row group for 0 <= i < 2 and 4 <= i < 6, else group + 8;
//      column 2 t + (i & 1), + 8 for i >= 4
//   B  element i: row 2 t + (i & 1), + 8 for i >= 2; column group
//   C  element i: row group for i < 2, else group + 8; column 2 t + (i & 1)
void mma_bf16(Warp& w, const Instruction& i, uint32_t) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int group = lane >> 2, t = lane % 4;
    for (int e = 0; e < 8; ++e) {
      const uint32_t word = w.words(i.list2[e / 2])[lane];
      const int row = (e < 2 || (4 <= e && e < 6)) ? group : group + 8;
      const int column = 2 * t + (e & 1) + (e >= 4 ? 8 : 0);
      a[row][column] = from_bf16(e & 1 ? word >> 16 : word & 0xFFFF);
    }
    for (int e = 0; e < 4; ++e) {
      const uint32_t word = w.words(i.list2[4 + e / 2])[lane];
      const int row = 2 * t + (e & 1) + (e >= 2 ? 8 : 0);
      b[row][group] = from_bf16(e & 1 ? word >> 16 : word & 0xFFFF);
    }
  }
  float d[16][8] = {};
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const int group = lane >> 2, t = lane % 4;
    for (int e = 0; e < 4; ++e) {
      const int row = e < 2 ? group : group + 8, column = 2 * t + (e & 1);
      const float c = get<float>(w.file, i.list[4 + e], lane);
      put<float>(w.file, i.list[e], lane, c + d[row][column]);
    }
  }
}

void nop(Warp&, const Instruction&, uint32_t) {}
void sync_warp(Warp& w, const Instruction&, uint32_t) { ++w.epoch; }
void trap(Warp& w, const Instruction& i, uint32_t lanes) {
  fail(w, i, __builtin_ctz(lanes), "trap");
}

std::unordered_map<std::string, Action> make_table() {
  std::unordered_map<std::string, Action> t;
  const auto integers = [&](const char* type, auto zero, bool sign) {
    using T = decltype(zero);
    using U = std::make_unsigned_t<T>;
    const std::string s = std::string(".") + type;
    t["add" + s] = binary<U, Add>;
    t["sub" + s] = binary<U, Sub>;
    if constexpr (sizeof(T) >= 4)
      t["mul.lo" + s] = binary<U, Mul>;
    else
      t["mul.lo" + s] = binary<U, Mul>;
    t["mul.hi" + s] = binary<T, MulHigh>;
    t["mad.lo" + s] = ternary<U, MadLow>;
    t["min" + s] = binary<T, Min>;
    t["max" + s] = binary<T, Max>;
    t["div" + s] = divide<T>;
    t["rem" + s] = remainder<T>;
    t["shr" + s] = shift<T, ShiftRight>;
    if (sign) {
      t["neg" + s] = unary<U, Neg>;
      if constexpr (std::is_signed_v<T>) t["abs" + s] = unary<T, Abs>;
    }
    t["setp.eq" + s] = compare<T, Equal>;
    t["setp.ne" + s] = compare<T, NotEqual>;
    t["setp.lt" + s] = compare<T, Less>;
    t["setp.le" + s] = compare<T, LessEqual>;
    t["setp.gt" + s] = compare<T, Greater>;
    t["setp.ge" + s] = compare<T, GreaterEqual>;
  };
  integers("u16", uint16_t{}, false);
  integers("s16", int16_t{}, true);
  integers("u32", uint32_t{}, false);
  integers("s32", int32_t{}, true);
  integers("u64", uint64_t{}, false);
  integers("s64", int64_t{}, true);
  const auto bits = [&](const char* type, auto zero) {
    using T = decltype(zero);
    const std::string s = std::string(".") + type;
    t["and" + s] = binary<T, And>;
    t["or" + s] = binary<T, Or>;
    t["xor" + s] = binary<T, Xor>;
    t["not" + s] = unary<T, Not>;
    t["shl" + s] = shift<T, ShiftLeft>;
    t["shr" + s] = shift<T, ShiftRight>;
    t["setp.eq" + s] = compare<T, Equal>;
    t["setp.ne" + s] = compare<T, NotEqual>;
    if constexpr (sizeof(T) >= 4) {
      t["popc" + s] = unary_to<uint32_t, T, PopCount>;
      t["clz" + s] = unary_to<uint32_t, T, LeadingZeros>;
      t["brev" + s] = unary<T, Reverse>;
      t["bfi" + s] = bit_field_insert<T>;
    }
  };
  bits("b16", uint16_t{});
  bits("b32", uint32_t{});
  bits("b64", uint64_t{});
  t["bmsk.clamp.b32"] = binary<uint32_t, BitMask>;
  t["mul.wide.u16"] = multiply_wide<uint32_t, uint16_t>;
  t["mul.wide.s16"] = multiply_wide<int32_t, int16_t>;
  t["mul.wide.u32"] = multiply_wide<uint64_t, uint32_t>;
  t["mul.wide.s32"] = multiply_wide<int64_t, int32_t>;
  t["mad.wide.u32"] = multiply_add_wide<uint64_t, uint32_t>;
  t["mad.wide.s32"] = multiply_add_wide<int64_t, int32_t>;

  const auto floats = [&](const char* type, auto zero) {
    using T = decltype(zero);
    const std::string s = std::string(".") + type;
    for (const char* rounding : {"", ".rn"}) {
      t[std::string("add") + rounding + s] = binary<T, Add>;
      t[std::string("sub") + rounding + s] = binary<T, Sub>;
      t[std::string("mul") + rounding + s] = binary<T, Mul>;
    }
    t["fma.rn" + s] = ternary<T, Fma>;
    t["div.rn" + s] = binary<T, Divide>;
    t["rcp.rn" + s] = unary<T, Reciprocal>;
    t["sqrt.rn" + s] = unary<T, Sqrt>;
    t["neg" + s] = unary<T, Neg>;
    t["abs" + s] = unary<T, AbsFloat>;
    t["min" + s] = binary<T, MinFloat>;
    t["max" + s] = binary<T, MaxFloat>;
    t["copysign" + s] = binary<T, CopySign>;
    t["setp.eq" + s] = compare<T, Equal>;
    t["setp.ne" + s] = compare<T, NotEqual>;
    t["setp.lt" + s] = compare<T, Less>;
    t["setp.le" + s] = compare<T, LessEqual>;
    t["setp.gt" + s] = compare<T, Greater>;
    t["setp.ge" + s] = compare<T, GreaterEqual>;
    t["setp.equ" + s] = compare<T, EqualU>;
    t["setp.neu" + s] = compare<T, NotEqualU>;
    t["setp.ltu" + s] = compare<T, LessU>;
    t["setp.leu" + s] = compare<T, LessEqualU>;
    t["setp.gtu" + s] = compare<T, GreaterU>;
    t["setp.geu" + s] = compare<T, GreaterEqualU>;
    t["setp.num" + s] = compare<T, Numbers>;
    t["setp.nan" + s] = compare<T, NoNumber>;
    t["cvt.rni" + s + s] = unary<T, Nearest>;
    t["cvt.rzi" + s + s] = unary<T, Truncate>;
    t["cvt.rmi" + s + s] = unary<T, Floor>;
    t["cvt.sat" + s + s] = unary<T, Saturate>;
    for (const char* mode : {"rzi", "rni"}) {
      const bool cut = mode[1] == 'z';
      const std::string name = std::string("cvt.") + mode + ".";
      t[name + "s32" + s] = cut ? convert<int32_t, T, true> : convert<int32_t, T, false>;
      t[name + "u32" + s] = cut ? convert<uint32_t, T, true> : convert<uint32_t, T, false>;
      t[name + "s64" + s] = cut ? convert<int64_t, T, true> : convert<int64_t, T, false>;
      t[name + "u64" + s] = cut ? convert<uint64_t, T, true> : convert<uint64_t, T, false>;
    }
    const std::string name = std::string("cvt.rn.") + type + ".";
    t[name + "s32"] = convert<T, int32_t, true>;
    t[name + "u32"] = convert<T, uint32_t, true>;
    t[name + "s64"] = convert<T, int64_t, true>;
    t[name + "u64"] = convert<T, uint64_t, true>;
    t[name + "s16"] = convert<T, int16_t, true>;
    t[name + "u16"] = convert<T, uint16_t, true>;
    t["atom.add" + s] = atomic<Space::kGlobal, T, Add>;
    t["atom.add" + s + ".shared"] = atomic<Space::kShared, T, Add>;
  };
  floats("f32", float{});
  floats("f64", double{});
  t["add.rz.f32"] = binary<float, AddRounded<FE_TOWARDZERO>>;
  t["fma.rm.f32"] = ternary<float, FmaRounded<FE_DOWNWARD>>;
  t["cvt.f64.f32"] = convert<double, float, true>;
  t["cvt.rn.f32.f64"] = convert<float, double, true>;
  t["cvt.bf16x2"] = convert_bf16x2;
  t["cvt.integer"] = convert_integer;
  t["ex2.approx.f32"] = unary<float, Exp2>;
  t["ex2.approx.ftz.f32"] = unary<float, Exp2Flushed>;
  t["lg2.approx.f32"] = unary<float, Log2>;
  t["rcp.approx.ftz.f32"] = unary<float, ReciprocalFlushed>;
  t["rcp.approx.ftz.f64"] = unary<double, ReciprocalUpper>;
  t["rsqrt.approx.f32"] = unary<float, ReciprocalRoot>;
  t["div.approx.f32"] = binary<float, Divide>;

  t["mov.b32"] = move<uint32_t>;
  t["mov.b64"] = move<uint64_t>;
  t["mov.pred"] = move_predicate;
  t["selp.b32"] = select<uint32_t>;
  t["selp.b64"] = select<uint64_t>;
  for (const char* type : {"b64", "f64", "u64", "s64"}) {
    t[std::string("pack.") + type] = pack<uint64_t, uint32_t>;
    t[std::string("unpack.") + type] = unpack<uint64_t, uint32_t>;
  }
  t["pack.b32"] = pack<uint32_t, uint16_t>;
  t["unpack.b32"] = unpack<uint32_t, uint16_t>;
  t["and.pred"] = predicates<And>;
  t["or.pred"] = predicates<Or>;
  t["xor.pred"] = predicates<Xor>;
  t["not.pred"] = not_predicate;

  t["ld.global"] = load<Space::kGlobal>;
  t["ld.shared"] = load<Space::kShared>;
  t["ld.param"] = load<Space::kParameter>;
  t["ld.generic"] = load<Space::kGlobal>;
  t["st.global"] = store<Space::kGlobal>;
  t["st.shared"] = store<Space::kShared>;
  t["st.generic"] = store<Space::kGlobal>;
  const auto atomics = [&](const char* type, auto zero) {
    using T = decltype(zero);
    using U = std::make_unsigned_t<T>;
    const auto add = [&](const std::string& name, Action global, Action shared) {
      t["atom." + name + "." + type] = global;
      t["atom." + name + "." + type + ".shared"] = shared;
    };
    add("add", atomic<Space::kGlobal, U, Add>, atomic<Space::kShared, U, Add>);
    add("min", atomic<Space::kGlobal, T, Min>, atomic<Space::kShared, T, Min>);
    add("max", atomic<Space::kGlobal, T, Max>, atomic<Space::kShared, T, Max>);
    add("and", atomic<Space::kGlobal, U, And>, atomic<Space::kShared, U, And>);
    add("or", atomic<Space::kGlobal, U, Or>, atomic<Space::kShared, U, Or>);
    add("xor", atomic<Space::kGlobal, U, Xor>, atomic<Space::kShared, U, Xor>);
    add("exch", atomic<Space::kGlobal, U, Exchange>, atomic<Space::kShared, U, Exchange>);
    add("cas", compare_and_swap<Space::kGlobal, U>, compare_and_swap<Space::kShared, U>);
  };
  atomics("u32", uint32_t{});
  atomics("s32", int32_t{});
  atomics("b32", uint32_t{});
  atomics("u64", uint64_t{});
  atomics("s64", int64_t{});
  atomics("b64", uint64_t{});

  t["cp.async"] = copy_async;
  t["cp.commit"] = commit_copies;
  t["cp.wait"] = wait_for_copies;
  t["shfl.up"] = shuffle<Shuffle::kUp>;
  t["shfl.down"] = shuffle<Shuffle::kDown>;
  t["shfl.bfly"] = shuffle<Shuffle::kButterfly>;
  t["shfl.idx"] = shuffle<Shuffle::kIndex>;
  t["vote.ballot"] = ballot;
  t["vote.any"] = any;
  t["vote.all"] = all;
  t["match.any.b32"] = match_any<uint32_t>;
  t["match.any.b64"] = match_any<uint64_t>;
  t["redux.add.s32"] = t["redux.add.u32"] = reduce<uint32_t, Add>;
  t["redux.min.s32"] = reduce<int32_t, Min>;
  t["redux.min.u32"] = reduce<uint32_t, Min>;
  t["redux.max.s32"] = reduce<int32_t, Max>;
  t["redux.max.u32"] = reduce<uint32_t, Max>;
  t["redux.and.b32"] = reduce<uint32_t, And>;
  t["redux.or.b32"] = reduce<uint32_t, Or>;
  t["redux.xor.b32"] = reduce<uint32_t, Xor>;
  t["bar.warp.sync"] = sync_warp;
  t["ldmatrix"] = load_matrices<false>;
  t["ldmatrix.trans"] = load_matrices<true>;
  t["mma.m16n8k16.bf16"] = mma_bf16;
  t["nop"] = nop;
  t["trap"] = trap;
  return t;
}

}  // namespace

Action find_action(const std::string& opcode) {
  static const std::unordered_map<std::string, Action> table = make_table();
  const auto found = table.find(opcode);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace ptx
