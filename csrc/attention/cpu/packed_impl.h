// Packed elements (`Numbers`: one number each, or a pair of bfloat16 numbers), and the packing of a
// head's rows: as they are, for a sum over rows, or transposed in panels. A part of
// attention_cpu_impl.h.
#pragma once

#include <cstring>

// The instruction set applies from here on.
#include "attention/cpu/head_impl.h"
#include "common/transpose_simd.h"

namespace lexforge::LEXFORGE_ISA {

// The first n of a register's elements, mostly all of them: a branch that is foreseen costs less
// than a mask. The rest is 0, or is not written.
template <typename L>
LEXFORGE_INLINE typename L::reg load_row(const typename L::scalar* p, int64_t n) {
  return n >= L::kWidth ? L::load_any(p) : L::load_first(p, n);
}
template <typename L>
LEXFORGE_INLINE void store_row(typename L::scalar* p, typename L::reg x, int64_t n) {
  n >= L::kWidth ? L::store_any(p, x) : L::store_first(p, x, n);
}

// ---- Elements ----------------------------------------------------------------------------------

// One number to an element; two-byte inputs are converted when they are packed.
template <typename scalar_t, typename stat_t>
struct Numbers;

template <typename L>
struct NumbersOf {
  using lanes = L;
  using scalar = typename L::scalar;
  using reg = typename L::reg;
  static constexpr int64_t kPack = 1;
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) { return L::fma(a, b, c); }
  // Rounds a row of probabilities, in place.
  static LEXFORGE_INLINE void round_row(scalar*, int64_t) {}
};

template <>
struct Numbers<float, float> : NumbersOf<FloatLanes> {
  static LEXFORGE_INLINE const float* elements(const float* row, int64_t, float*) { return row; }
  static LEXFORGE_INLINE void write(float* to, const float* from, float factor, int64_t dim) {
    using L = FloatLanes;
    for (int64_t d = 0; d < dim; d += L::kWidth) {
      store_row<L>(to + d, L::mul(L::broadcast(factor), L::load_any(from + d)), dim - d);
    }
  }
};

template <>
struct Numbers<double, double> : NumbersOf<ScalarLanes<double>> {
  static LEXFORGE_INLINE const double* elements(const double* row, int64_t, double*) { return row; }
  static LEXFORGE_INLINE void write(double* to, const double* from, double factor, int64_t dim) {
    for (int64_t d = 0; d < dim; ++d) to[d] = factor * from[d];
  }
};

#if defined(LEXFORGE_ISA_AVX512_BF16)

// Two bfloat16 numbers to an element, the first in the low half; the processor multiplies both and
// adds the products to a float.
template <>
struct Numbers<Bfloat16, float> {
  using lanes = FloatLanes;
  using scalar = float;
  using reg = __m512;
  static constexpr int64_t kPack = 2;
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static LEXFORGE_INLINE const float* elements(const Bfloat16* row, int64_t dim, float* staging) {
    if (dim % 2 == 0) return reinterpret_cast<const float*>(row);
    staging[dim / 2] = 0;
    std::memcpy(staging, row, static_cast<size_t>(dim) * sizeof *row);
    return staging;
  }
  static LEXFORGE_INLINE __mmask16 first(int64_t n) { return Float16::first(n); }
  static LEXFORGE_INLINE __m256i narrow(reg x) {
    return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
  }
  static LEXFORGE_INLINE reg pair(__m256i low, __m256i high) {
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(low),
                                               _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16)));
  }
  static LEXFORGE_INLINE void write(Bfloat16* to, const float* from, float factor, int64_t dim) {
    for (int64_t d = 0; d < dim; d += 16) {
      const reg x = _mm512_mul_ps(_mm512_loadu_ps(from + d), _mm512_set1_ps(factor));
      _mm256_mask_storeu_epi16(to + d, first(dim - d), narrow(x));
    }
  }
  // Neighbours in a row become pairs.
  static LEXFORGE_INLINE void round_row(float* row, int64_t n) { round_row(row, row, n); }
  static LEXFORGE_INLINE void round_row(const float* from, float* to, int64_t n) {
    for (int64_t j = 0; j < n; j += 16) {
      const __m256i x = narrow(_mm512_loadu_ps(from + j));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + j / 2), x);
    }
  }
  // Neighbours in a column become pairs, in place of the upper row; no lower row means zeros.
  static LEXFORGE_INLINE void round_rows(float* upper, const float* lower, int64_t n) {
    for (int64_t j = 0; j < n; j += 16) {
      const __m256i low = narrow(_mm512_loadu_ps(upper + j));
      const __m256i high =
          lower == nullptr ? _mm256_setzero_si256() : narrow(_mm512_loadu_ps(lower + j));
      _mm512_storeu_ps(upper + j, pair(low, high));
    }
  }
  static LEXFORGE_INLINE void pair_rows(const Bfloat16* upper, const Bfloat16* lower, float* to,
                                        int64_t dim) {
    for (int64_t d = 0; d < dim; d += 16) {
      const __m256i low = _mm256_maskz_loadu_epi16(first(dim - d), upper + d);
      const __m256i high = lower == nullptr ? _mm256_setzero_si256()
                                            : _mm256_maskz_loadu_epi16(first(dim - d), lower + d);
      _mm512_storeu_ps(to + d, pair(low, high));
    }
  }
};

#else

LEXFORGE_INLINE float widen(Bfloat16 x) {
  const uint32_t word = uint32_t{x.bits} << 16;
  float result;
  std::memcpy(&result, &word, sizeof result);
  return result;
}

// To nearest, ties to even; NaN stays NaN.
LEXFORGE_INLINE Bfloat16 narrow(float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  if ((word & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>(word >> 16 | 0x40)};
  return {static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16)};
}

template <>
struct Numbers<Bfloat16, float> : NumbersOf<FloatLanes> {
  static LEXFORGE_INLINE const float* elements(const Bfloat16* row, int64_t dim, float* staging) {
    for (int64_t d = 0; d < dim; ++d) staging[d] = widen(row[d]);
    return staging;
  }
  static LEXFORGE_INLINE void write(Bfloat16* to, const float* from, float factor, int64_t dim) {
    for (int64_t d = 0; d < dim; ++d) to[d] = narrow(factor * from[d]);
  }
};

#endif

// ---- Rows --------------------------------------------------------------------------------------

// Rows as they are, elements along the row, zeros up to whole registers.
template <typename P, typename scalar_t>
void pack_rows(const HeadShape<P>& head, const scalar_t* from, int64_t stride, int64_t rows,
               typename P::scalar* staging, typename P::scalar* to) {
  using L = typename P::lanes;
  for (int64_t r = 0; r < rows; ++r, from += stride, to += head.row()) {
    const auto* row = P::elements(from, head.dim, staging);
    for (int64_t e = 0; e < head.elements; e += L::kWidth) {
      L::store_any(to + e, load_row<L>(row + e, head.elements - e));
    }
  }
}

// Rows to be summed over: kPack neighbouring rows become one row of elements.
template <typename P, typename scalar_t>
void pack_depth(const HeadShape<P>& head, const scalar_t* from, int64_t stride, int64_t rows,
                typename P::scalar* staging, typename P::scalar* to) {
  if constexpr (P::kPack == 1) {
    pack_rows<P>(head, from, stride, rows, staging, to);
  } else {
    for (int64_t r = 0; r < rows; r += 2, to += head.padded, from += 2 * stride) {
      P::pair_rows(from, r + 1 < rows ? from + stride : nullptr, to, head.dim);
    }
  }
}

// Rows transposed: panel p holds element e of key p kPanel + l at [e][l]; zeros beyond the last.
template <typename P, typename scalar_t>
void pack_panels(const HeadShape<P>& head, const scalar_t* from, int64_t stride, int64_t rows,
                 typename P::scalar* staging, typename P::scalar* to) {
  using L = typename P::lanes;
  constexpr int64_t W = L::kWidth, kPanel = HeadShape<P>::kPanel;
  for (int64_t first = 0; first < rows; first += W) {
    auto* panel = to + first / kPanel * head.panel_size() + first % kPanel;
    const typename P::scalar* row[W] = {};
    for (int64_t r = 0; r < W && first + r < rows; ++r) {
      row[r] = P::elements(from + (first + r) * stride, head.dim, staging + r * kMaxHeadDim);
    }
    for (int64_t e = 0; e < head.elements; e += W) {
      const int64_t count = head.elements - e;
      typename L::reg square[W];
      for (int64_t r = 0; r < W; ++r) {
        square[r] = first + r < rows ? load_row<L>(row[r] + e, count) : L::zero();
      }
      transpose<L>(square);
      for (int64_t l = 0; l < W && l < count; ++l) {
        L::store_any(panel + (e + l) * kPanel, square[l]);
      }
    }
  }
}

}  // namespace lexforge::LEXFORGE_ISA
