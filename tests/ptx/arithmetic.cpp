// Arithmetic, comparison and logic, lane by lane.
#include <cfenv>
#include <cmath>
#include <limits>

#include "lanes.h"
#include "operations.h"

namespace ptx {
namespace {

// ---- what is done with one lane's values

#define TERNARY(name, ...)          \
  struct name {                     \
    template <typename T>           \
    static T apply(T a, T b, T c) { \
      return T(__VA_ARGS__);        \
    }                               \
  };
#define COMPARISON(name, ...)     \
  struct name {                   \
    template <typename T>         \
    static bool apply(T a, T b) { \
      return __VA_ARGS__;         \
    }                             \
  };

PTX_BINARY(Sub, a - b)
PTX_BINARY(Mul, a* b)
PTX_BINARY(Divide, a / b)
// The number if the other is a NaN; -0 is below +0.
PTX_BINARY(MinFloat, a != a ? b : b != b ? a : a < b ? a : b < a ? b : std::signbit(a) ? a : b)
PTX_BINARY(MaxFloat, a != a ? b : b != b ? a : a > b ? a : b > a ? b : std::signbit(a) ? b : a)
PTX_BINARY(CopySign, std::copysign(b, a))  // a's sign, b's magnitude
PTX_UNARY(Neg, -a)
PTX_UNARY(Not, ~a)
PTX_UNARY(Abs, a < 0 ? -a : a)
PTX_UNARY(AbsFloat, std::fabs(a))
PTX_UNARY(Sqrt, std::sqrt(a))
PTX_UNARY(Reciprocal, T(1) / a)
TERNARY(Fma, std::fma(a, b, c))
TERNARY(MultiplyAdd, a* b + c)
COMPARISON(Equal, a == b)
COMPARISON(NotEqual, a != b && a == a && b == b)
COMPARISON(Less, a < b)
COMPARISON(LessEqual, a <= b)
COMPARISON(Greater, a > b)
COMPARISON(GreaterEqual, a >= b)
// The unordered ones are true of NaNs.
COMPARISON(EqualU, !(a < b || a > b))
COMPARISON(NotEqualU, !(a == b))
COMPARISON(LessU, !(a >= b))
COMPARISON(LessEqualU, !(a > b))
COMPARISON(GreaterU, !(a <= b))
COMPARISON(GreaterEqualU, !(a < b))
COMPARISON(Numbers, a == a && b == b)
COMPARISON(NoNumber, a != a || b != b)

// Shifts beyond the width shift everything out.
struct ShiftLeft {
  template <typename T>
  static T apply(T a, uint32_t b) {
    return b >= 8 * sizeof(T) ? T(0) : T(a << b);
  }
};
struct ShiftRight {
  template <typename T>
  static T apply(T a, uint32_t b) {
    const T out = std::is_signed_v<T> && a < 0 ? T(-1) : T(0);
    return b >= 8 * sizeof(T) ? out : T(a >> b);
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
struct PopCount {
  template <typename T>
  static uint32_t apply(T a) {
    return static_cast<uint32_t>(__builtin_popcountll(a));
  }
};
struct LeadingZeros {
  template <typename T>
  static uint32_t apply(T a) {
    constexpr int kUnused = 64 - static_cast<int>(8 * sizeof(T));
    return a == 0 ? 8 * sizeof(T) : static_cast<uint32_t>(__builtin_clzll(a) - kUnused);
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
// `width` ones from bit `first` on; both clamped.
struct BitMask {
  static uint32_t apply(uint32_t first, uint32_t width) {
    if (first > 31) return 0;
    const uint64_t ones = (uint64_t{1} << (width > 32 ? 32 : width)) - 1;
    return static_cast<uint32_t>(ones << first);
  }
};

// ---- actions

template <typename R, typename T, typename F>
void unary(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a);
  const auto d = target<R>(w, i.d);
  each(lanes, [=](int l) { d.set(l, F::apply(a[l])); });
}
template <typename T, typename F>
void binary(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b);
  const auto d = target<T>(w, i.d);
  each(lanes, [=](int l) { d.set(l, F::apply(a[l], b[l])); });
}
template <typename T, typename F>
void ternary(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b), c = source<T>(w, i.c);
  const auto d = target<T>(w, i.d);
  each(lanes, [=](int l) { d.set(l, F::apply(a[l], b[l], c[l])); });
}
template <typename T, typename F>
void shift(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a);
  const auto b = source<uint32_t>(w, i.b);
  const auto d = target<T>(w, i.d);
  each(lanes, [=](int l) { d.set(l, F::apply(a[l], b[l])); });
}
template <typename R, typename T>
void multiply_wide(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b);
  const auto d = target<R>(w, i.d);
  each(lanes, [=](int l) { d.set(l, R(a[l]) * R(b[l])); });
}
template <typename R, typename T>
void multiply_add_wide(Warp& w, const Instruction& i, uint32_t lanes) {
  using U = std::make_unsigned_t<R>;
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b);
  const auto c = source<U>(w, i.c);
  const auto d = target<U>(w, i.d);
  each(lanes, [=](int l) { d.set(l, U(R(a[l]) * R(b[l])) + c[l]); });
}

// setp p or setp p|q, where q is the opposite.
template <typename T, typename F>
void compare(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b);
  uint32_t result = 0;
  if (lanes == kAll) {
    uint32_t bits[kLanes];
    for (int l = 0; l < kLanes; ++l) bits[l] = uint32_t{F::apply(a[l], b[l])} << l;
    for (int l = 0; l < kLanes; ++l) result |= bits[l];
  } else {
    each(lanes, [&](int l) { result |= uint32_t{F::apply(a[l], b[l])} << l; });
  }
  w.set_predicate(i.d, lanes, result);
  w.set_predicate(i.e, lanes, ~result);
}

template <typename T>
void divide(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b);
  const auto d = target<T>(w, i.d);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const T x = a[l], y = b[l];
    if (y == 0) fail(w, i, l, "division of an integer by zero");
    const bool overflows = std::is_signed_v<T> && x == std::numeric_limits<T>::min() && y == T(-1);
    d.set(l, overflows ? x : T(x / y));
  }
}
template <typename T>
void remainder(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b);
  const auto d = target<T>(w, i.d);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const T y = b[l];
    if (y == 0) fail(w, i, l, "remainder of an integer by zero");
    d.set(l, std::is_signed_v<T> && y == T(-1) ? T(0) : T(a[l] % y));
  }
}

// Bits of a, c of them (the list's one), into b from bit `c` on; what does not fit is left out.
template <typename T>
void bit_field_insert(Warp& w, const Instruction& i, uint32_t lanes) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b);
  const auto first = source<uint32_t>(w, i.c), width = source<uint32_t>(w, i.e);
  const auto d = target<T>(w, i.d);
  each(lanes, [=](int l) {
    const uint32_t from = first[l] & 0xFF, bits = width[l] & 0xFF;
    const T ones = bits >= kBits ? T(-1) : T((T(1) << bits) - 1);
    const T mask = from >= kBits ? T(0) : T(ones << from);
    const T shifted = from >= kBits ? T(0) : T(a[l] << from);
    d.set(l, (b[l] & ~mask) | (shifted & mask));
  });
}
// Bits of a, c of them from bit b on; beyond the top, the sign, if it is one.
template <typename T>
void bit_field_extract(Warp& w, const Instruction& i, uint32_t lanes) {
  constexpr uint32_t kTop = 8 * sizeof(T) - 1;
  using U = std::make_unsigned_t<T>;
  const auto a = source<U>(w, i.a);
  const auto first = source<uint32_t>(w, i.b), width = source<uint32_t>(w, i.c);
  const auto d = target<U>(w, i.d);
  each(lanes, [=](int l) {
    const uint32_t from = first[l] & 0xFF, bits = width[l] & 0xFF;
    const uint32_t last = bits == 0 ? 0 : from + bits - 1;
    const bool sign = std::is_signed_v<T> && bits != 0 && a[l] >> (last < kTop ? last : kTop) & 1;
    const U field = from > kTop ? U(0) : U(a[l] >> from);
    const U ones = bits > kTop ? U(-1) : U((U(1) << bits) - 1);
    const uint32_t there = from > kTop ? 0 : kTop + 1 - from;  // bits of a that the field can have
    const U valid = there > kTop ? U(-1) : U((U(1) << there) - 1);
    d.set(l, (field & ones & valid) | (sign ? U(~(ones & valid)) : U(0)));
  });
}

template <typename T>
void select(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t p = w.predicate(i.c);
  const auto a = source<T>(w, i.a), b = source<T>(w, i.b);
  const auto d = target<T>(w, i.d);
  each(lanes, [=](int l) { d.set(l, p >> l & 1 ? a[l] : b[l]); });
}
template <typename T>
void move(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a);
  const auto d = target<T>(w, i.d);
  each(lanes, [=](int l) { d.set(l, a[l]); });
}
template <typename T, typename Half>
void pack(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto low = source<Half>(w, i.list[0]), high = source<Half>(w, i.list[1]);
  const auto d = target<T>(w, i.d);
  each(lanes, [=](int l) { d.set(l, T(low[l]) | T(high[l]) << (8 * sizeof(Half))); });
}
template <typename T, typename Half>
void unpack(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a);
  const auto low = target<Half>(w, i.list[0]), high = target<Half>(w, i.list[1]);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const T value = a[l];
    low.set(l, static_cast<Half>(value));
    high.set(l, static_cast<Half>(value >> (8 * sizeof(Half))));
  }
}

template <typename F>
void predicates(Warp& w, const Instruction& i, uint32_t lanes) {
  w.set_predicate(i.d, lanes, F::apply(w.predicate(i.a), w.predicate(i.b)));
}
void not_predicate(Warp& w, const Instruction& i, uint32_t lanes) {
  w.set_predicate(i.d, lanes, ~w.predicate(i.a));
}
void move_predicate(Warp& w, const Instruction& i, uint32_t lanes) {
  w.set_predicate(i.d, lanes, w.predicate(i.a));
}

// An action under another rounding mode than to nearest even. The compiler moves no arithmetic
// past the calls: it begins with loads and ends with stores of memory that they might touch.
template <Action kAction, int kMode>
void rounded(Warp& w, const Instruction& i, uint32_t lanes) {
  std::fesetround(kMode);
  kAction(w, i, lanes);
  std::fesetround(FE_TONEAREST);
}

// ---- approximations
//
// Exact here, rounded to nearest; with jitter they err at random within the bounds of the PTX ISA:
// so many units in the last place, or, lg2 near 1, an absolute error.

template <typename T>
T flushed(T x) {
  return std::fabs(x) < std::numeric_limits<T>::min() ? std::copysign(T(0), x) : x;
}

struct Exp2 {
  static constexpr int kUlps = 2;
  static float apply(float a) { return std::exp2(a); }
};
struct Exp2Flushed {
  static constexpr int kUlps = 2;
  static float apply(float a) { return flushed(std::exp2(flushed(a))); }
};
struct Log2 {
  static constexpr int kUlps = 2;  // 2^-22 of the result; the same absolutely for 0.5 < a < 2
  static float apply(float a) { return std::log2(a); }
};
struct ReciprocalApproximate {
  static constexpr int kUlps = 1;
  static float apply(float a) { return 1.0f / a; }
};
struct ReciprocalFlushed {
  static constexpr int kUlps = 1;
  static float apply(float a) { return flushed(1.0f / flushed(a)); }
};
struct RootApproximate {
  static constexpr int kUlps = 1;
  static float apply(float a) { return std::sqrt(a); }
};
struct ReciprocalRoot {
  static constexpr int kUlps = 1;
  static float apply(float a) {
    return static_cast<float>(1.0 / std::sqrt(static_cast<double>(a)));
  }
};
struct Sine {  // 2^-20.5 absolutely between -pi and pi
  static constexpr int kUlps = 0;
  static constexpr float kAbsolute = 0x1.6ap-21f;
  static float apply(float a) { return std::sin(a); }
};
struct Cosine {
  static constexpr int kUlps = 0;
  static constexpr float kAbsolute = 0x1.6ap-21f;
  static float apply(float a) { return std::cos(a); }
};
struct HyperbolicTangent {  // 2^-11 of the result
  static constexpr int kUlps = 4096;
  static float apply(float a) { return std::tanh(a); }
};
struct DivideApproximate {
  static constexpr int kUlps = 2;
  static float apply(float a, float b) { return a / b; }
};

// Noise of an instruction's operands and the seed: like the hardware's, an error is the same
// whenever and wherever the same is computed.
uint64_t noise(const Launch& launch, float a, float b) {  // a step of splitmix64
  uint64_t z = uint64_t{bit_cast<uint32_t>(a)} << 32 | bit_cast<uint32_t>(b);
  z += (launch.settings.jitter_seed + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}
double unit(uint64_t noise) { return static_cast<double>(noise >> 11) * 0x1p-52 - 1; }  // [-1, 1)

// A neighbour of x, at most `ulps` away. Zeros, infinities and NaNs are what the ISA lists exactly.
float disturbed(float x, int ulps, uint64_t noise) {
  if (!std::isnormal(x) || ulps == 0) return x;
  const auto by = static_cast<int32_t>(noise % static_cast<uint64_t>(2 * ulps + 1)) - ulps;
  const float y = bit_cast<float>(bit_cast<int32_t>(x) + by);
  return std::isnormal(y) ? y : x;
}

template <typename F>
float approximate(const Launch& launch, float a) {
  const float exact = F::apply(a);
  const uint64_t error = noise(launch, a, 0);
  if constexpr (std::is_same_v<F, Exp2> || std::is_same_v<F, Exp2Flushed>) {
    // CUDA's own expm1f and expf keep their promise of one unit only if a whole power is exact and
    // that of a fraction is within one.
    if (std::trunc(a) == a) return exact;
    if (std::fabs(a) < 1) return disturbed(exact, 1, error);
  }
  if constexpr (requires { F::kAbsolute; }) {
    return std::isfinite(exact) ? static_cast<float>(exact + unit(error) * F::kAbsolute) : exact;
  }
  if (std::is_same_v<F, Log2> && a > 0.5f && a < 2.0f) {
    return static_cast<float>(exact + unit(error) * 0x1p-22);
  }
  return disturbed(exact, F::kUlps, error);
}

template <typename F>
void approximate_unary(Warp& w, const Instruction& i, uint32_t lanes) {
  const Launch& launch = *w.block->launch;
  if (!launch.settings.jitter) return unary<float, float, F>(w, i, lanes);
  const auto a = source<float>(w, i.a);
  const auto d = target<float>(w, i.d);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    d.set(l, approximate<F>(launch, a[l]));
  }
}
void approximate_divide(Warp& w, const Instruction& i, uint32_t lanes) {
  const Launch& launch = *w.block->launch;
  const auto a = source<float>(w, i.a), b = source<float>(w, i.b);
  const auto d = target<float>(w, i.d);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = __builtin_ctz(rest);
    const float x = a[l], y = b[l];
    float result = x / y;
    // For 2^126 < |b| < infinity the hardware's 1 / b is flushed, and so is the result.
    if (std::fabs(y) > 0x1p126f && std::isfinite(y)) {
      const bool negative = std::signbit(x) != std::signbit(y);
      result = std::isinf(x) ? std::numeric_limits<float>::quiet_NaN() : negative ? -0.0f : 0.0f;
    }
    if (launch.settings.jitter) {
      result = disturbed(result, DivideApproximate::kUlps, noise(launch, x, y));
    }
    d.set(l, result);
  }
}

// rcp and rsqrt for double precision give the upper half of the bits; the lower one is zero.
double upper_half(double y) {
  return bit_cast<double>(bit_cast<uint64_t>(flushed(y)) & 0xFFFFFFFF00000000u);
}
struct ReciprocalUpper {
  static double apply(double a) { return upper_half(1.0 / flushed(a)); }
};
struct ReciprocalRootUpper {
  static double apply(double a) { return upper_half(1.0 / std::sqrt(flushed(a))); }
};

// ---- the table

template <typename T>
void add_comparisons(Actions& t, const std::string& s) {
  t["setp.eq" + s] = compare<T, Equal>;
  t["setp.ne" + s] = compare<T, NotEqual>;
  t["setp.lt" + s] = compare<T, Less>;
  t["setp.le" + s] = compare<T, LessEqual>;
  t["setp.gt" + s] = compare<T, Greater>;
  t["setp.ge" + s] = compare<T, GreaterEqual>;
  if constexpr (std::is_unsigned_v<T>) {  // lower, higher
    t["setp.lo" + s] = compare<T, Less>;
    t["setp.ls" + s] = compare<T, LessEqual>;
    t["setp.hi" + s] = compare<T, Greater>;
    t["setp.hs" + s] = compare<T, GreaterEqual>;
  }
}

template <typename T>
void add_integers(Actions& t, const std::string& s) {
  using U = std::make_unsigned_t<T>;  // wraps around
  t["add" + s] = binary<U, Add>;
  t["sub" + s] = binary<U, Sub>;
  t["mul.lo" + s] = binary<U, Mul>;
  t["mul.hi" + s] = binary<T, MulHigh>;
  t["mad.lo" + s] = ternary<U, MultiplyAdd>;
  t["min" + s] = binary<T, Min>;
  t["max" + s] = binary<T, Max>;
  t["div" + s] = divide<T>;
  t["rem" + s] = remainder<T>;
  t["shr" + s] = shift<T, ShiftRight>;
  if constexpr (std::is_signed_v<T>) {
    t["neg" + s] = unary<U, U, Neg>;
    t["abs" + s] = unary<T, T, Abs>;
  }
  if constexpr (sizeof(T) >= 4) t["bfe" + s] = bit_field_extract<T>;
  add_comparisons<T>(t, s);
}

template <typename T>
void add_bits(Actions& t, const std::string& s) {
  t["and" + s] = binary<T, And>;
  t["or" + s] = binary<T, Or>;
  t["xor" + s] = binary<T, Xor>;
  t["not" + s] = unary<T, T, Not>;
  t["shl" + s] = shift<T, ShiftLeft>;
  t["shr" + s] = shift<T, ShiftRight>;
  t["setp.eq" + s] = compare<T, Equal>;
  t["setp.ne" + s] = compare<T, NotEqual>;
  if constexpr (sizeof(T) >= 4) {
    t["popc" + s] = unary<uint32_t, T, PopCount>;
    t["clz" + s] = unary<uint32_t, T, LeadingZeros>;
    t["brev" + s] = unary<T, T, Reverse>;
    t["bfi" + s] = bit_field_insert<T>;
    t["mov" + s] = move<T>;
    t["selp" + s] = select<T>;
  }
}

// One action in the rounding modes that PTX has: to nearest even, zero, down and up.
template <Action kAction>
void add_rounded(Actions& t, const std::string& base, const std::string& s) {
  t[base + ".rn" + s] = kAction;
  t[base + ".rz" + s] = rounded<kAction, FE_TOWARDZERO>;
  t[base + ".rm" + s] = rounded<kAction, FE_DOWNWARD>;
  t[base + ".rp" + s] = rounded<kAction, FE_UPWARD>;
}

template <typename T>
void add_floats(Actions& t, const std::string& s) {
  add_rounded<binary<T, Add>>(t, "add", s);
  add_rounded<binary<T, Sub>>(t, "sub", s);
  add_rounded<binary<T, Mul>>(t, "mul", s);
  for (const char* base : {"add", "sub", "mul"}) t[base + s] = t[base + (".rn" + s)];
  add_rounded<ternary<T, Fma>>(t, "fma", s);
  add_rounded<binary<T, Divide>>(t, "div", s);
  add_rounded<unary<T, T, Reciprocal>>(t, "rcp", s);
  add_rounded<unary<T, T, Sqrt>>(t, "sqrt", s);
  t["neg" + s] = unary<T, T, Neg>;
  t["abs" + s] = unary<T, T, AbsFloat>;
  t["min" + s] = binary<T, MinFloat>;
  t["max" + s] = binary<T, MaxFloat>;
  t["copysign" + s] = binary<T, CopySign>;
  add_comparisons<T>(t, s);
  t["setp.equ" + s] = compare<T, EqualU>;
  t["setp.neu" + s] = compare<T, NotEqualU>;
  t["setp.ltu" + s] = compare<T, LessU>;
  t["setp.leu" + s] = compare<T, LessEqualU>;
  t["setp.gtu" + s] = compare<T, GreaterU>;
  t["setp.geu" + s] = compare<T, GreaterEqualU>;
  t["setp.num" + s] = compare<T, Numbers>;
  t["setp.nan" + s] = compare<T, NoNumber>;
}

}  // namespace

void add_arithmetic(Actions& t) {
  add_integers<uint16_t>(t, ".u16");
  add_integers<int16_t>(t, ".s16");
  add_integers<uint32_t>(t, ".u32");
  add_integers<int32_t>(t, ".s32");
  add_integers<uint64_t>(t, ".u64");
  add_integers<int64_t>(t, ".s64");
  add_bits<uint16_t>(t, ".b16");
  add_bits<uint32_t>(t, ".b32");
  add_bits<uint64_t>(t, ".b64");
  t["bmsk.clamp.b32"] = binary<uint32_t, BitMask>;
  t["mul.wide.u16"] = multiply_wide<uint32_t, uint16_t>;
  t["mul.wide.s16"] = multiply_wide<int32_t, int16_t>;
  t["mul.wide.u32"] = multiply_wide<uint64_t, uint32_t>;
  t["mul.wide.s32"] = multiply_wide<int64_t, int32_t>;
  t["mad.wide.u32"] = multiply_add_wide<uint64_t, uint32_t>;
  t["mad.wide.s32"] = multiply_add_wide<int64_t, int32_t>;
  add_floats<float>(t, ".f32");
  add_floats<double>(t, ".f64");
  t["ex2.approx.f32"] = approximate_unary<Exp2>;
  t["ex2.approx.ftz.f32"] = approximate_unary<Exp2Flushed>;
  t["lg2.approx.f32"] = approximate_unary<Log2>;
  t["rcp.approx.f32"] = approximate_unary<ReciprocalApproximate>;
  t["rcp.approx.ftz.f32"] = approximate_unary<ReciprocalFlushed>;
  t["sqrt.approx.f32"] = approximate_unary<RootApproximate>;
  t["rsqrt.approx.f32"] = approximate_unary<ReciprocalRoot>;
  t["sin.approx.f32"] = approximate_unary<Sine>;
  t["cos.approx.f32"] = approximate_unary<Cosine>;
  t["tanh.approx.f32"] = approximate_unary<HyperbolicTangent>;
  t["div.approx.f32"] = approximate_divide;
  t["rcp.approx.ftz.f64"] = unary<double, double, ReciprocalUpper>;
  t["rsqrt.approx.ftz.f64"] = unary<double, double, ReciprocalRootUpper>;
  t["pack.b64"] = pack<uint64_t, uint32_t>;
  t["unpack.b64"] = unpack<uint64_t, uint32_t>;
  t["pack.b32"] = pack<uint32_t, uint16_t>;
  t["unpack.b32"] = unpack<uint32_t, uint16_t>;
  t["and.pred"] = predicates<And>;
  t["or.pred"] = predicates<Or>;
  t["xor.pred"] = predicates<Xor>;
  t["not.pred"] = not_predicate;
  t["mov.pred"] = move_predicate;
}

}  // namespace ptx
