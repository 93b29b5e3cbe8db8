// SIMD lanes: one kernel body, three builds.
//
// A kernel body `x_cpu_impl.h` is compiled once for each instruction set, from files that setup.py
// writes into the build folder: each defines LEXFORGE_ISA as baseline, avx2 or avx512, and
// LEXFORGE_ISA_BASELINE, _AVX2 or _AVX512, and includes the body. The body includes every standard
// and shared header it needs BEFORE this one, then opens `namespace lexforge::LEXFORGE_ISA`. From
// here to the end of the file the compiler may use the instruction set; what was included above
// stays baseline, so no inline function of a shared header is emitted with instructions that
// another machine lacks. A body that mentions LEXFORGE_ISA_AVX512_BF16, to multiply bfloat16, is
// compiled a fourth time: LEXFORGE_ISA is avx512::bf16 there, and both LEXFORGE_ISA_AVX512 and
// LEXFORGE_ISA_AVX512_BF16 are defined.
//
// FloatLanes is the widest register of the build (FloatUpTo8 the widest of at most eight lanes);
// ScalarLanes<T> is the same interface with one lane, for the double instantiations that gradient
// checks need.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifndef LEXFORGE_ISA
#error "define LEXFORGE_ISA before including common/simd.h"
#endif

#if defined(LEXFORGE_ISA_AVX2) || defined(LEXFORGE_ISA_AVX512)
#if defined(__clang__)
#error "the AVX2 and AVX-512 kernels select their instruction set by a GCC pragma: build with g++"
#endif
// GCC 12 warns about the registers that its own header leaves undefined on purpose (GCC PR 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
#if defined(LEXFORGE_ISA_AVX512)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi,bmi2,popcnt,prfchw")
#if defined(LEXFORGE_ISA_AVX512_BF16)
#pragma GCC target("avx512bf16")
#endif
#elif defined(LEXFORGE_ISA_AVX2)
#pragma GCC target("avx2,fma,bmi,bmi2,popcnt,prfchw")
#endif

#define LEXFORGE_INLINE inline __attribute__((always_inline))
// For a lambda that must not become a function of its own: after its parameters.
#define LEXFORGE_INLINED __attribute__((always_inline))

namespace lexforge::LEXFORGE_ISA {

// One lane: the portable meaning of every operation below. min and max give b when either is NaN,
// as the x86 instructions do.
template <typename T>
struct ScalarLanes {
  using scalar = T;
  using reg = T;
  static constexpr int64_t kWidth = 1;
  static LEXFORGE_INLINE reg zero() { return T(0); }
  static LEXFORGE_INLINE reg broadcast(T x) { return x; }
  static LEXFORGE_INLINE reg load(const T* p) { return *p; }  // aligned to the register width
  static LEXFORGE_INLINE reg load_any(const T* p) { return *p; }
  static LEXFORGE_INLINE reg load_first(const T* p, int64_t n) { return n > 0 ? *p : T(0); }
  static LEXFORGE_INLINE void store(T* p, reg x) { *p = x; }
  static LEXFORGE_INLINE void store_any(T* p, reg x) { *p = x; }
  static LEXFORGE_INLINE void store_first(T* p, reg x, int64_t n) {
    if (n > 0) *p = x;
  }
  static LEXFORGE_INLINE reg add(reg a, reg b) { return a + b; }
  static LEXFORGE_INLINE reg sub(reg a, reg b) { return a - b; }
  static LEXFORGE_INLINE reg mul(reg a, reg b) { return a * b; }
  static LEXFORGE_INLINE reg div(reg a, reg b) { return a / b; }
  static LEXFORGE_INLINE reg fma(reg a, reg b, reg c) { return a * b + c; }   // a b + c
  static LEXFORGE_INLINE reg fnma(reg a, reg b, reg c) { return c - a * b; }  // c - a b
  static LEXFORGE_INLINE reg min(reg a, reg b) { return a < b ? a : b; }
  static LEXFORGE_INLINE reg max(reg a, reg b) { return a > b ? a : b; }
  static LEXFORGE_INLINE reg sqrt(reg a) { return std::sqrt(a); }
  static LEXFORGE_INLINE reg select_negative(reg x, reg yes, reg no) { return x < 0 ? yes : no; }
  static LEXFORGE_INLINE T sum(reg a) { return a; }
  static LEXFORGE_INLINE void sum8(const reg (&a)[8], T* out) {  // out[i] = sum(a[i])
    for (int i = 0; i < 8; ++i) out[i] = a[i];
  }
};

#if defined(LEXFORGE_ISA_AVX512)

struct Float16 {
  using scalar = float;
  using reg = __m512;
  static constexpr int64_t kWidth = 16;
  static LEXFORGE_INLINE __mmask16 first(int64_t n) {
    return static_cast<__mmask16>(n >= 16 ? 0xFFFFu : n <= 0 ? 0u : (1u << n) - 1u);
  }
  static LEXFORGE_INLINE reg zero() { return _mm512_setzero_ps(); }
  static LEXFORGE_INLINE reg broadcast(float x) { return _mm512_set1_ps(x); }
  static LEXFORGE_INLINE reg load(const float* p) { return _mm512_load_ps(p); }
  static LEXFORGE_INLINE reg load_any(const float* p) { return _mm512_loadu_ps(p); }
  static LEXFORGE_INLINE reg load_first(const float* p, int64_t n) {
    return _mm512_maskz_loadu_ps(first(n), p);
  }
  static LEXFORGE_INLINE void store(float* p, reg x) { _mm512_store_ps(p, x); }
  static LEXFORGE_INLINE void store_any(float* p, reg x) { _mm512_storeu_ps(p, x); }
  static LEXFORGE_INLINE void store_first(float* p, reg x, int64_t n) {
    _mm512_mask_storeu_ps(p, first(n), x);
  }
  static LEXFORGE_INLINE reg add(reg a, reg b) { return _mm512_add_ps(a, b); }
  static LEXFORGE_INLINE reg sub(reg a, reg b) { return _mm512_sub_ps(a, b); }
  static LEXFORGE_INLINE reg mul(reg a, reg b) { return _mm512_mul_ps(a, b); }
  static LEXFORGE_INLINE reg div(reg a, reg b) { return _mm512_div_ps(a, b); }
  static LEXFORGE_INLINE reg fma(reg a, reg b, reg c) { return _mm512_fmadd_ps(a, b, c); }
  static LEXFORGE_INLINE reg fnma(reg a, reg b, reg c) { return _mm512_fnmadd_ps(a, b, c); }
  static LEXFORGE_INLINE reg min(reg a, reg b) { return _mm512_min_ps(a, b); }
  static LEXFORGE_INLINE reg max(reg a, reg b) { return _mm512_max_ps(a, b); }
  static LEXFORGE_INLINE reg sqrt(reg a) { return _mm512_sqrt_ps(a); }
  static LEXFORGE_INLINE reg select_negative(reg x, reg yes, reg no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, zero(), _CMP_LT_OQ), no, yes);
  }
  static LEXFORGE_INLINE float sum(reg a) { return _mm512_reduce_add_ps(a); }
  // Transposes while it adds: 3 shuffles a register instead of the 8 of a sum each.
  static LEXFORGE_INLINE void sum8(const reg (&a)[8], float* out) {
    reg pair[4], four[2];
    for (int i = 0; i < 4; ++i) {
      pair[i] = add(_mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]),
                    _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]));
    }
    for (int i = 0; i < 2; ++i) {
      const __m512d x = _mm512_castps_pd(pair[2 * i]), y = _mm512_castps_pd(pair[2 * i + 1]);
      four[i] = add(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    // Each 128-bit part of four[i] holds sums 4 i .. 4 i + 3 of a quarter of the register.
    const reg half = add(_mm512_shuffle_f32x4(four[0], four[1], 0x44),
                         _mm512_shuffle_f32x4(four[0], four[1], 0xEE));
    const reg all = add(half, _mm512_shuffle_f32x4(half, half, 0xB1));  // in parts 0 and 2
    _mm256_storeu_ps(out, _mm512_castps512_ps256(_mm512_shuffle_f32x4(all, all, 0x08)));
  }
  // 2^n for whole n in [-126, 127].
  static LEXFORGE_INLINE reg round(reg a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static LEXFORGE_INLINE reg power_of_two(reg n) { return _mm512_scalef_ps(broadcast(1.0f), n); }
};

#endif

#if defined(LEXFORGE_ISA_AVX2) || defined(LEXFORGE_ISA_AVX512)

struct Float8 {
  using scalar = float;
  using reg = __m256;
  static constexpr int64_t kWidth = 8;
  static LEXFORGE_INLINE __m256i first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 8 ? n : 8)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static LEXFORGE_INLINE reg zero() { return _mm256_setzero_ps(); }
  static LEXFORGE_INLINE reg broadcast(float x) { return _mm256_set1_ps(x); }
  static LEXFORGE_INLINE reg load(const float* p) { return _mm256_load_ps(p); }
  static LEXFORGE_INLINE reg load_any(const float* p) { return _mm256_loadu_ps(p); }
  static LEXFORGE_INLINE reg load_first(const float* p, int64_t n) {
    return _mm256_maskload_ps(p, first(n));
  }
  static LEXFORGE_INLINE void store(float* p, reg x) { _mm256_store_ps(p, x); }
  static LEXFORGE_INLINE void store_any(float* p, reg x) { _mm256_storeu_ps(p, x); }
  static LEXFORGE_INLINE void store_first(float* p, reg x, int64_t n) {
    _mm256_maskstore_ps(p, first(n), x);
  }
  static LEXFORGE_INLINE reg add(reg a, reg b) { return _mm256_add_ps(a, b); }
  static LEXFORGE_INLINE reg sub(reg a, reg b) { return _mm256_sub_ps(a, b); }
  static LEXFORGE_INLINE reg mul(reg a, reg b) { return _mm256_mul_ps(a, b); }
  static LEXFORGE_INLINE reg div(reg a, reg b) { return _mm256_div_ps(a, b); }
  static LEXFORGE_INLINE reg fma(reg a, reg b, reg c) { return _mm256_fmadd_ps(a, b, c); }
  static LEXFORGE_INLINE reg fnma(reg a, reg b, reg c) { return _mm256_fnmadd_ps(a, b, c); }
  static LEXFORGE_INLINE reg min(reg a, reg b) { return _mm256_min_ps(a, b); }
  static LEXFORGE_INLINE reg max(reg a, reg b) { return _mm256_max_ps(a, b); }
  static LEXFORGE_INLINE reg sqrt(reg a) { return _mm256_sqrt_ps(a); }
  static LEXFORGE_INLINE reg select_negative(reg x, reg yes, reg no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(x, zero(), _CMP_LT_OQ));
  }
  static LEXFORGE_INLINE float sum(reg a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
  }
  static LEXFORGE_INLINE void sum8(const reg (&a)[8], float* out) {
    const reg low = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
    const reg high = _mm256_hadd_ps(_mm256_hadd_ps(a[4], a[5]), _mm256_hadd_ps(a[6], a[7]));
    _mm256_storeu_ps(
        out, add(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)));
  }
  static LEXFORGE_INLINE reg round(reg a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static LEXFORGE_INLINE reg power_of_two(reg n) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
};

#else

// Four floats in the compiler's own vector type: SSE2 on x86-64, NEON on arm64.
struct Float4 {
  using scalar = float;
  typedef float reg __attribute__((vector_size(16)));
  typedef int32_t ints __attribute__((vector_size(16)));
  static constexpr int64_t kWidth = 4;
  static LEXFORGE_INLINE reg zero() { return reg{0, 0, 0, 0}; }
  static LEXFORGE_INLINE reg broadcast(float x) { return reg{x, x, x, x}; }
  static LEXFORGE_INLINE reg load(const float* p) { return *reinterpret_cast<const reg*>(p); }
  static LEXFORGE_INLINE reg load_any(const float* p) {
    reg x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  static LEXFORGE_INLINE reg load_first(const float* p, int64_t n) {
    reg x = zero();
    for (int i = 0; i < 4 && i < n; ++i) x[i] = p[i];
    return x;
  }
  static LEXFORGE_INLINE void store(float* p, reg x) { *reinterpret_cast<reg*>(p) = x; }
  static LEXFORGE_INLINE void store_any(float* p, reg x) { std::memcpy(p, &x, sizeof x); }
  static LEXFORGE_INLINE void store_first(float* p, reg x, int64_t n) {
    for (int i = 0; i < 4 && i < n; ++i) p[i] = x[i];
  }
  static LEXFORGE_INLINE reg add(reg a, reg b) { return a + b; }
  static LEXFORGE_INLINE reg sub(reg a, reg b) { return a - b; }
  static LEXFORGE_INLINE reg mul(reg a, reg b) { return a * b; }
  static LEXFORGE_INLINE reg div(reg a, reg b) { return a / b; }
  static LEXFORGE_INLINE reg fma(reg a, reg b, reg c) { return a * b + c; }
  static LEXFORGE_INLINE reg fnma(reg a, reg b, reg c) { return c - a * b; }
  static LEXFORGE_INLINE reg min(reg a, reg b) { return a < b ? a : b; }
  static LEXFORGE_INLINE reg max(reg a, reg b) { return a > b ? a : b; }
  static LEXFORGE_INLINE reg sqrt(reg a) {
#ifdef __SSE__
    return __builtin_ia32_sqrtps(a);
#else
    return reg{std::sqrt(a[0]), std::sqrt(a[1]), std::sqrt(a[2]), std::sqrt(a[3])};
#endif
  }
  static LEXFORGE_INLINE reg select_negative(reg x, reg yes, reg no) {
    return x < zero() ? yes : no;
  }
  static LEXFORGE_INLINE float sum(reg a) { return (a[0] + a[1]) + (a[2] + a[3]); }
  static LEXFORGE_INLINE void sum8(const reg (&a)[8], float* out) {
    for (int i = 0; i < 8; ++i) out[i] = sum(a[i]);
  }
  // Round to nearest by the magic number 1.5 * 2^23, good for |a| < 2^22.
  static LEXFORGE_INLINE reg round(reg a) {
    const reg magic = broadcast(12582912.0f);
    return (a + magic) - magic;
  }
  static LEXFORGE_INLINE reg power_of_two(reg n) {
    const ints exponent = (__builtin_convertvector(n, ints) + 127) << 23;
    return reinterpret_cast<reg>(exponent);
  }
};

#endif

// FloatLanes is the widest register of the build, UpTo8 the widest of at most eight lanes.
#if defined(LEXFORGE_ISA_AVX512)
using FloatLanes = Float16;
using FloatUpTo8 = Float8;
#elif defined(LEXFORGE_ISA_AVX2)
using FloatLanes = Float8;
using FloatUpTo8 = Float8;
#else
using FloatLanes = Float4;
using FloatUpTo8 = Float4;
#endif

// exp, sigmoid and log(sigmoid).
//
// float: exp by range reduction to [-ln2/2, ln2/2] and a polynomial of degree 6; the argument is
// clamped to [-87, 88], NaN gives NaN. Measured against double for every float of these ranges: over
// [-87, 88] exp within relative 2.4e-7 (2.8 ulp), over [-87, 87] sigmoid within relative 3.3e-7 and
// log_sigmoid within relative 4e-7; without fused multiply-add, in the baseline, 2.6e-7 (3.1 ulp),
// 3.4e-7 and 4.3e-7. tests/common/test_numerics.py holds it. double: the C library.
template <typename L>
struct Numerics;

template <>
struct Numerics<ScalarLanes<double>> {
  static LEXFORGE_INLINE double exp(double x) { return std::exp(x); }
  static LEXFORGE_INLINE double sigmoid(double x) {
    const double e = std::exp(-std::fabs(x));
    return (x < 0 ? e : 1.0) / (1.0 + e);
  }
  // Also returns log(sigmoid(x)), which shares the exponential.
  static LEXFORGE_INLINE double sigmoid_log(double x, double& log_sigmoid) {
    log_sigmoid = (x < 0 ? x : 0.0) - std::log1p(std::exp(-std::fabs(x)));
    return sigmoid(x);
  }
};

template <typename L>
struct FloatNumerics {
  using reg = typename L::reg;

  static LEXFORGE_INLINE reg exp(reg x) {
    x = L::min(L::broadcast(88.0f), L::max(L::broadcast(-87.0f), x));  // in this order NaN stays
    const reg n = L::round(L::mul(x, L::broadcast(1.44269504f)));
    reg r = L::fnma(n, L::broadcast(0.693359375f), x);  // ln 2 in two parts: the first is exact
    r = L::fnma(n, L::broadcast(-2.12194440e-4f), r);
    reg p = L::broadcast(1.3888889e-3f);
    p = L::fma(p, r, L::broadcast(8.3333333e-3f));
    p = L::fma(p, r, L::broadcast(4.1666667e-2f));
    p = L::fma(p, r, L::broadcast(1.6666667e-1f));
    p = L::fma(p, r, L::broadcast(0.5f));
    p = L::fma(p, r, L::broadcast(1.0f));
    p = L::fma(p, r, L::broadcast(1.0f));
    return L::mul(p, L::power_of_two(n));
  }

  static LEXFORGE_INLINE reg absolute(reg x) { return L::max(x, L::sub(L::zero(), x)); }

  static LEXFORGE_INLINE reg sigmoid(reg x) {
    const reg e = exp(L::sub(L::zero(), absolute(x)));
    const reg one = L::broadcast(1.0f);
    return L::div(L::select_negative(x, e, one), L::add(one, e));
  }

  // Also returns log(sigmoid(x)) = min(x, 0) - log1p(e), e = exp(-|x|), with
  // log1p(e) = 2 artanh(s), s = e / (2 + e) <= 1/3, by its series to s^15.
  static LEXFORGE_INLINE reg sigmoid_log(reg x, reg& log_sigmoid) {
    const reg e = exp(L::sub(L::zero(), absolute(x)));
    const reg one = L::broadcast(1.0f);
    const reg s = L::div(e, L::add(L::broadcast(2.0f), e));
    const reg s2 = L::mul(s, s);
    reg p = L::broadcast(2.0f / 15);
    p = L::fma(p, s2, L::broadcast(2.0f / 13));
    p = L::fma(p, s2, L::broadcast(2.0f / 11));
    p = L::fma(p, s2, L::broadcast(2.0f / 9));
    p = L::fma(p, s2, L::broadcast(2.0f / 7));
    p = L::fma(p, s2, L::broadcast(2.0f / 5));
    p = L::fma(p, s2, L::broadcast(2.0f / 3));
    p = L::fma(p, s2, L::broadcast(2.0f));
    log_sigmoid = L::fnma(p, s, L::min(x, L::zero()));
    return L::div(L::select_negative(x, e, one), L::add(one, e));
  }
};

template <>
struct Numerics<FloatLanes> : FloatNumerics<FloatLanes> {};
#if defined(LEXFORGE_ISA_AVX512)
template <>
struct Numerics<FloatUpTo8> : FloatNumerics<FloatUpTo8> {};
#endif

// 1 / sqrt(v), v > 0 and normal.
template <typename L>
LEXFORGE_INLINE typename L::reg inverse_root(typename L::reg v) {
  return L::div(L::broadcast(1), L::sqrt(v));
}

// x / (sqrt(v) + epsilon), v >= 0, epsilon > 0.
template <typename L>
LEXFORGE_INLINE typename L::reg over_root(typename L::reg x, typename L::reg v,
                                          typename L::reg epsilon) {
  return L::div(x, L::add(L::sqrt(v), epsilon));
}

// An estimate and a Newton step spare the divider, which takes 20 cycles for a register of roots
// and quotients where the rest of an optimiser's update takes 10.
#if defined(LEXFORGE_ISA_AVX2) || defined(LEXFORGE_ISA_AVX512)

template <>
LEXFORGE_INLINE FloatLanes::reg inverse_root<FloatLanes>(FloatLanes::reg v) {
  using L = FloatLanes;
#if defined(LEXFORGE_ISA_AVX512)
  const L::reg r = _mm512_rsqrt14_ps(v);
#else
  const L::reg r = _mm256_rsqrt_ps(v);
#endif
  const L::reg half = L::mul(L::mul(v, r), L::broadcast(0.5f));
  return L::mul(r, L::fnma(half, r, L::broadcast(1.5f)));
}

#endif
#if defined(LEXFORGE_ISA_AVX512)

template <>
LEXFORGE_INLINE Float16::reg over_root<Float16>(Float16::reg x, Float16::reg v,
                                                Float16::reg epsilon) {
  using L = Float16;
  const L::reg positive = L::max(v, L::broadcast(1.17549435e-38f));  // the smallest normal number
  const L::reg r = _mm512_rsqrt14_ps(positive);
  const L::reg half = L::mul(L::mul(positive, r), L::broadcast(0.5f));
  const L::reg root =
      L::fma(L::mul(positive, r), L::fnma(half, r, L::broadcast(0.5f)), L::mul(positive, r));
  const L::reg denominator = L::add(root, epsilon);
  const L::reg q = _mm512_rcp14_ps(denominator);
  return L::mul(x, L::mul(q, L::fnma(denominator, q, L::broadcast(2.0f))));
}

#endif

}  // namespace lexforge::LEXFORGE_ISA
