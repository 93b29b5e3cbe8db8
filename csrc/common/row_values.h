// Rows of float, double and bfloat16 read and written as registers of numbers one computes in, and
// of float16 read.
// Included by kernel bodies after common/simd.h, and after common/bfloat16.h.
#pragma once

namespace lexforge::LEXFORGE_ISA {

// load and store of the first n (at most the width, mostly all of it: a branch that is foreseen
// costs less than a mask) elements; the rest reads as 0, or is not written. Rows need no alignment.
template <typename scalar_t>
struct RowValues;

template <typename L>
struct PlainRowValues {
  using lanes = L;
  using reg = typename L::reg;
  static LEXFORGE_INLINE reg load(const typename L::scalar* p, int64_t n) {
    return n >= L::kWidth ? L::load_any(p) : L::load_first(p, n);
  }
  static LEXFORGE_INLINE void store(typename L::scalar* p, reg x, int64_t n) {
    n >= L::kWidth ? L::store_any(p, x) : L::store_first(p, x, n);
  }
};
template <>
struct RowValues<float> : PlainRowValues<FloatLanes> {};
template <>
struct RowValues<double> : PlainRowValues<ScalarLanes<double>> {};

// To nearest, ties to even; NaN stays NaN.
template <>
struct RowValues<Bfloat16> {
  using lanes = FloatLanes;
  using reg = FloatLanes::reg;
#if defined(LEXFORGE_ISA_AVX512)
  static LEXFORGE_INLINE reg load(const Bfloat16* p, int64_t n) {
    const __m256i bits =
        n >= 16 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))
                : _mm256_maskz_loadu_epi16(Float16::first(n), reinterpret_cast<const void*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static LEXFORGE_INLINE void store(Bfloat16* p, reg x, int64_t n) {
    const __m512i word = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(word, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(word, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    rounded = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), word,
                                   _mm512_set1_epi32(0x400000));
    const __m256i bits = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
    if (n >= 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bits);
    } else {
      _mm256_mask_storeu_epi16(p, Float16::first(n), bits);
    }
  }
#elif defined(LEXFORGE_ISA_AVX2)
  static LEXFORGE_INLINE reg load(const Bfloat16* p, int64_t n) {
    __m128i bits;
    if (n >= 8) {
      bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    } else {
      Bfloat16 some[8] = {};
      for (int64_t i = 0; i < n; ++i) some[i] = p[i];
      bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(some));
    }
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static LEXFORGE_INLINE void store(Bfloat16* p, reg x, int64_t n) {
    const __m256i word = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(word, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(word, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i quiet = _mm256_or_si256(word, _mm256_set1_epi32(0x400000));
    const __m256 chosen = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet),
                                           _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i high = _mm256_srli_epi32(_mm256_castps_si256(chosen), 16);
    const __m128i bits =
        _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    if (n >= 8) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bits);
    } else {
      Bfloat16 some[8];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(some), bits);
      for (int64_t i = 0; i < n; ++i) p[i] = some[i];
    }
  }
#else
  static LEXFORGE_INLINE reg load(const Bfloat16* p, int64_t n) {
    uint32_t word[4] = {};
    for (int64_t i = 0; i < 4 && i < n; ++i) word[i] = uint32_t{p[i].bits} << 16;
    reg x;
    std::memcpy(&x, word, sizeof x);
    return x;
  }
  static LEXFORGE_INLINE void store(Bfloat16* p, reg x, int64_t n) {
    uint32_t word[4];
    std::memcpy(word, &x, sizeof x);
    for (int64_t i = 0; i < 4 && i < n; ++i) {
      const bool nan = (word[i] & 0x7FFFFFFFu) > 0x7F800000u;
      const uint32_t bits = nan ? word[i] | 0x400000 : word[i] + 0x7FFF + (word[i] >> 16 & 1);
      p[i].bits = static_cast<uint16_t>(bits >> 16);
    }
  }
#endif
};

template <>
struct RowValues<Half> {
  using lanes = FloatLanes;
  using reg = FloatLanes::reg;
#if defined(LEXFORGE_ISA_AVX512)
  static LEXFORGE_INLINE reg load(const Half* p, int64_t n) {
    return _mm512_cvtph_ps(
        n >= 16 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))
                : _mm256_maskz_loadu_epi16(Float16::first(n), reinterpret_cast<const void*>(p)));
  }
#else
  // In the compiler's own vector types: AVX2 does not say that there is an instruction for it.
  static LEXFORGE_INLINE reg load(const Half* p, int64_t n) {
    constexpr int64_t W = FloatLanes::kWidth;
    typedef uint16_t halves __attribute__((vector_size(2 * W)));
    typedef uint32_t words __attribute__((vector_size(4 * W)));
    halves bits{};
    if (n >= W) {
      std::memcpy(&bits, p, sizeof bits);
    } else {
      for (int64_t i = 0; i < n; ++i) bits[i] = p[i].bits;
    }
    const words word = __builtin_convertvector(bits, words);
    const words magnitude = (word & 0x7FFF) << 13;
    // From the exponent's bias of 15 to that of 127; what is denormal becomes normal.
    reg x;
    std::memcpy(&x, &magnitude, sizeof x);
    x = FloatLanes::mul(x, FloatLanes::broadcast(0x1p112f));
    words result;
    std::memcpy(&result, &x, sizeof x);
    const words top = magnitude >= 0x0F800000 ? words{} + 0x7F800000 : words{};  // infinite, NaN
    result |= top | (word & 0x8000) << 16;
    std::memcpy(&x, &result, sizeof x);
    return x;
  }
#endif
};

// f(d, n) for every register of `dim` numbers: those at d ... d + n - 1.
template <typename L, typename F>
LEXFORGE_INLINE void for_registers(int64_t dim, const F& f) {
  int64_t d = 0;
  for (; d + L::kWidth <= dim; d += L::kWidth) f(d, L::kWidth);
  if (d < dim) f(d, dim - d);
}

}  // namespace lexforge::LEXFORGE_ISA
