// cvt: between widths, integers and floats, and to bfloat16.
#include <cmath>
#include <limits>

#include "lanes.h"
#include "operations.h"

namespace ptx {
namespace {

PTX_UNARY(Nearest, std::nearbyint(a))
PTX_UNARY(Truncate, std::trunc(a))
PTX_UNARY(Floor, std::floor(a))
PTX_UNARY(Ceil, std::ceil(a))
PTX_UNARY(Saturate, a > 0 ? a < 1 ? a : 1 : 0)  // a NaN becomes 0
template <typename To>
struct Cast {
  template <typename T>
  static To apply(T a) {
    return static_cast<To>(a);
  }
};

// A whole number as an integer: the nearest there is. A NaN becomes 0 if all types have 32 bits,
// else the upper bit alone.
template <typename To, typename Rounding>
struct ToInteger {
  template <typename T>
  static To apply(T a) {
    constexpr bool kSigned = std::is_signed_v<To>;
    constexpr double kTop =
        sizeof(To) == 8 ? (kSigned ? 0x1p63 : 0x1p64) : (kSigned ? 0x1p31 : 0x1p32);
    const auto whole = static_cast<double>(Rounding::apply(a));
    if (whole != whole) {
      constexpr bool kWide = sizeof(To) == 8 || sizeof(T) == 8;
      return kWide ? To(uint64_t{1} << (8 * sizeof(To) - 1)) : To(0);
    }
    if (whole >= kTop) return std::numeric_limits<To>::max();
    if (whole <= (kSigned ? -kTop : 0.0)) return std::numeric_limits<To>::min();
    return static_cast<To>(whole);
  }
};

template <typename To, typename From, typename F>
void convert(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<From>(w, i.a);
  const auto d = target<To>(w, i.d);
  each(lanes, [=](int l) { d.set(l, F::apply(a[l])); });
}

// Between integers: extended or cut. Operands may be wider than their types.
void convert_integer(Warp& w, const Instruction& i, uint32_t lanes) {
  each(lanes, [&w, &i](int l) {
    uint64_t value = extend(raw(w, i.source_class, i.a, l), i.bytes, i.sign);
    put_raw(w, i.value_class, i.d, l, extend(value, i.target_bytes, i.target_sign));
  });
}

// The common ones, with operands of their types' widths.
void convert_to_long(Warp& w, const Instruction& i, uint32_t lanes) {
  if (i.sign) {
    convert<int64_t, int32_t, Cast<int64_t>>(w, i, lanes);
  } else {
    convert<uint64_t, uint32_t, Cast<uint64_t>>(w, i, lanes);
  }
}
void convert_to_word(Warp& w, const Instruction& i, uint32_t lanes) {
  convert<uint32_t, uint64_t, Cast<uint32_t>>(w, i, lanes);
}

// To nearest even; every NaN becomes 0x7FFF.
uint16_t to_bf16(float value) {
  if (value != value) return 0x7FFF;
  const auto bits = bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
struct ToBf16 {
  static uint16_t apply(float a) { return to_bf16(a); }
};
struct FromBf16 {
  static float apply(uint16_t a) { return bit_cast<float>(uint32_t{a} << 16); }
};
// a into the upper half, b into the lower one.
void convert_bf16x2(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<float>(w, i.a), b = source<float>(w, i.b);
  const auto d = target<uint32_t>(w, i.d);
  each(lanes, [=](int l) { d.set(l, uint32_t{to_bf16(a[l])} << 16 | to_bf16(b[l])); });
}

template <typename T>
void add_floats(Actions& t, const std::string& s) {
  t["cvt.rni" + s + s] = convert<T, T, Nearest>;
  t["cvt.rzi" + s + s] = convert<T, T, Truncate>;
  t["cvt.rmi" + s + s] = convert<T, T, Floor>;
  t["cvt.rpi" + s + s] = convert<T, T, Ceil>;
  t["cvt.sat" + s + s] = convert<T, T, Saturate>;
  const auto integer = [&]<typename I>(const std::string& type, I) {
    t["cvt.rni" + type + s] = convert<I, T, ToInteger<I, Nearest>>;
    t["cvt.rzi" + type + s] = convert<I, T, ToInteger<I, Truncate>>;
    t["cvt.rmi" + type + s] = convert<I, T, ToInteger<I, Floor>>;
    t["cvt.rpi" + type + s] = convert<I, T, ToInteger<I, Ceil>>;
    t["cvt.rn" + s + type] = convert<T, I, Cast<T>>;
  };
  integer(".s32", int32_t{});
  integer(".u32", uint32_t{});
  integer(".s64", int64_t{});
  integer(".u64", uint64_t{});
  t["cvt.rn" + s + ".s16"] = convert<T, int16_t, Cast<T>>;
  t["cvt.rn" + s + ".u16"] = convert<T, uint16_t, Cast<T>>;
}

}  // namespace

void add_conversions(Actions& t) {
  add_floats<float>(t, ".f32");
  add_floats<double>(t, ".f64");
  t["cvt.f64.f32"] = convert<double, float, Cast<double>>;
  t["cvt.rn.f32.f64"] = convert<float, double, Cast<float>>;
  t["cvt.rn.bf16.f32"] = convert<uint16_t, float, ToBf16>;
  t["cvt.f32.bf16"] = convert<float, uint16_t, FromBf16>;
  t["cvt.rn.bf16x2.f32"] = convert_bf16x2;
  t["cvt.integer"] = convert_integer;
  t["cvt.to_long"] = convert_to_long;
  t["cvt.to_word"] = convert_to_word;
}

}  // namespace ptx
