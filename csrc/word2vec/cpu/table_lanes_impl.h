// Rows of tables as registers of the numbers that one computes in.
// A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/bfloat16.h"
#include "word2vec/word2vec_train.h"
// The instruction set applies from here on.
#include "common/simd.h"
// On its lanes.
#include "common/register_blocks.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// The lanes L, and how many of their registers hold a chunk of an input row, with as many for its
// gradient, and how many are pooled at a time.
template <typename L, typename row_t>
struct TableLanes : L {
  using row = row_t;
  static constexpr int64_t kChunk = L::kWidth == 16 ? 10 : 4, kPool = 2 * kChunk;
};

// Of bfloat16, loaded and stored at multiples of a register; stored as word2vec_stored() has it.
#if defined(LEXFORGE_ISA_AVX2)

// The upper and the lower halves of words, two registers at a time, so that nothing need be moved
// across lanes. Numbers then lie in an order of their own, which is the same for all rows, and in
// what is made of them.
template <>
struct TableLanes<FloatLanes, Bfloat16> {
  using row = Bfloat16;
  using scalar = float;
  struct reg {
    __m256 even, odd;
  };
  static constexpr int64_t kWidth = 16, kChunk = 2, kPool = 4;

  static LEXFORGE_INLINE reg zero() { return {Float8::zero(), Float8::zero()}; }
  static LEXFORGE_INLINE reg broadcast(float x) {
    return {Float8::broadcast(x), Float8::broadcast(x)};
  }
  static LEXFORGE_INLINE reg load(const float* p) { return {Float8::load(p), Float8::load(p + 8)}; }
  static LEXFORGE_INLINE void store(float* p, reg x) {
    Float8::store(p, x.even);
    Float8::store(p + 8, x.odd);
  }
  static LEXFORGE_INLINE reg add(reg a, reg b) {
    return {Float8::add(a.even, b.even), Float8::add(a.odd, b.odd)};
  }
  static LEXFORGE_INLINE reg sub(reg a, reg b) {
    return {Float8::sub(a.even, b.even), Float8::sub(a.odd, b.odd)};
  }
  static LEXFORGE_INLINE reg mul(reg a, reg b) {
    return {Float8::mul(a.even, b.even), Float8::mul(a.odd, b.odd)};
  }
  static LEXFORGE_INLINE reg fma(reg a, reg b, reg c) {
    return {Float8::fma(a.even, b.even, c.even), Float8::fma(a.odd, b.odd, c.odd)};
  }
  static LEXFORGE_INLINE void sum8(const reg (&a)[8], float* out) {
    __m256 both[8];
    for (int i = 0; i < 8; ++i) both[i] = Float8::add(a[i].even, a[i].odd);
    Float8::sum8(both, out);
  }

  static LEXFORGE_INLINE reg load(const Bfloat16* p) {
    const __m256i words = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(words, 16)),
            _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(~0xFFFF)))};
  }
  static LEXFORGE_INLINE void store(Bfloat16* p, reg x) {
    const __m256i even = _mm256_srli_epi32(rounded(x.even), 16);
    _mm256_store_si256(reinterpret_cast<__m256i*>(p),
                       _mm256_blend_epi16(even, rounded(x.odd), 0xAA));
  }

 private:
  static LEXFORGE_INLINE __m256i rounded(__m256 x) {
    const __m256i word = _mm256_castps_si256(x);
    const __m256i sum = _mm256_madd_epi16(word, _mm256_set1_epi32(kRoundingFactors));
    return _mm256_add_epi32(word, _mm256_and_si256(sum, _mm256_set1_epi32(0xFFFF)));
  }
};

#else

template <>
struct TableLanes<FloatLanes, Bfloat16> : TableLanes<FloatLanes, float> {
  using row = Bfloat16;
  using FloatLanes::load;
  using FloatLanes::store;

  static LEXFORGE_INLINE reg load(const Bfloat16* p) {
    return RowValues<Bfloat16>::load(p, kWidth);
  }

  static LEXFORGE_INLINE void store(Bfloat16* p, reg x) {
#if defined(LEXFORGE_ISA_AVX512)
    const __m512i word = _mm512_castps_si512(x);
    const __m512i sum = _mm512_madd_epi16(word, _mm512_set1_epi32(kRoundingFactors));
    const __m512i rounded =
        _mm512_add_epi32(word, _mm512_and_si512(sum, _mm512_set1_epi32(0xFFFF)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(p),
                       _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
#else
    float number[kWidth];
    FloatLanes::store_any(number, x);
    for (int64_t i = 0; i < kWidth; ++i) p[i] = word2vec_stored<Bfloat16>(number[i]);
#endif
  }
};

#endif

}  // namespace

#if defined(LEXFORGE_ISA_AVX2)
template <>
inline constexpr int64_t kBlockOfRow<TableLanes<FloatLanes, Bfloat16>> = 5;
#endif

}  // namespace lexforge::LEXFORGE_ISA
