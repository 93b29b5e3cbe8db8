// CPU kernel of few_rows_linear.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/transformer/few_rows_linear.py.
//
// A register tile holds the products of some rows of the weights and some rows of x, lanes along
// the inputs. Rows of the weights come from memory once: for the next rows of x they are in the
// first-level cache. The rows after them are fetched meanwhile: else the products would wait for the
// memory, and then the memory for the products; and rows are too short for the processor to foresee
// them. Every product of two rows is one chain of multiply-adds in each lane and one sum over lanes,
// whatever shares the tile.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/bfloat16.h"
#include "transformer/few_rows_linear.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Rows of x of a tile, at most, beside eight rows of the weights, whose sums take 24 of 32 registers.
// Of 16 they take 8: two rows of x share them with four rows of the weights.
#if defined(LEXFORGE_ISA_AVX512)
constexpr int kMostRows = 3;
#else
constexpr int kMostRows = 2;
#endif

// What is multiplied at a time: numbers, or pairs of bfloat16.
template <typename scalar_t>
struct Factors {
  using Values = RowValues<scalar_t>;
  using L = typename Values::lanes;
  using reg = typename L::reg;
  static constexpr int64_t kStep = L::kWidth;
  static LEXFORGE_INLINE reg load(const scalar_t* p, int64_t n) { return Values::load(p, n); }
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) { return L::fma(a, b, c); }
};

#if defined(LEXFORGE_ISA_AVX512_BF16)
template <>
struct Factors<Bfloat16> {
  using L = FloatLanes;
  using reg = __m512;
  static constexpr int64_t kStep = 32;
  static LEXFORGE_INLINE reg load(const Bfloat16* p, int64_t n) {
    if (n >= kStep) return _mm512_loadu_ps(p);
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16((uint32_t{1} << n) - 1, p));
  }
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};
#endif

template <typename scalar_t>
using Sum = typename Factors<scalar_t>::L::scalar;

// Memory that is fetched into the second-level cache while a tile is computed: so many cache lines at
// every step.
struct Ahead {
  const char* next;
  int64_t lines;
};

// products[8 i + r] = x row i . weight row r, for kRows rows of x and kWeights of the weights.
template <typename scalar_t, int kRows, int kWeights>
__attribute__((noinline)) void tile(const scalar_t* x, const scalar_t* const* weights,
                                    int64_t inputs, Ahead ahead, Sum<scalar_t>* products) {
  using F = Factors<scalar_t>;
  using L = typename F::L;
  constexpr int kSums = kRows * kWeights;
  typename L::reg sum[kSums / 8][8];  // registers, as long as every loop over it is unrolled
#pragma GCC unroll 24
  for (int i = 0; i < kSums; ++i) sum[i / 8][i % 8] = L::zero();
  const auto step = [&](int64_t k, int64_t n) LEXFORGE_INLINED {
    for (int64_t line = 0; line < ahead.lines; ++line, ahead.next += 64) {
      __builtin_prefetch(ahead.next, 0, 2);
    }
    typename L::reg of_row[kRows];
#pragma GCC unroll 3
    for (int i = 0; i < kRows; ++i) of_row[i] = F::load(x + i * inputs + k, n);
#pragma GCC unroll 8
    for (int r = 0; r < kWeights; ++r) {
      const typename L::reg weight = F::load(weights[r] + k, n);
#pragma GCC unroll 3
      for (int i = 0; i < kRows; ++i) {
        auto& to = sum[(i * kWeights + r) / 8][(i * kWeights + r) % 8];
        to = F::multiply_add(weight, of_row[i], to);
      }
    }
  };
  int64_t k = 0;
  for (; k + F::kStep <= inputs; k += F::kStep) step(k, F::kStep);
  if (k < inputs) step(k, inputs - k);
  for (int i = 0; i < kSums / 8; ++i) {
    Sum<scalar_t> eight[8];
    L::sum8(sum[i], eight);
    for (int j = 0; j < 8; ++j) {
      const int s = 8 * i + j;
      products[s / kWeights * 8 + s % kWeights] = eight[j];
    }
  }
}

// The same for eight rows of the weights.
template <typename scalar_t, int kRows>
LEXFORGE_INLINE void eight_outputs(const scalar_t* x, const scalar_t* const* weights,
                                   int64_t inputs, Ahead ahead, Sum<scalar_t>* products) {
  constexpr int kWeights = kMostRows == 2 ? 8 / kRows : 8;
  for (int r = 0; r < 8; r += kWeights) {
    tile<scalar_t, kRows, kWeights>(x, weights + r, inputs, ahead, products + r);
    ahead.next += ahead.lines * (inputs / Factors<scalar_t>::kStep) * 64;
  }
}

}  // namespace

template <typename scalar_t>
void few_rows_linear(const FewRowsLinearParams<scalar_t>& params, int64_t first, int64_t last) {
  using Out = RowValues<scalar_t>;
  using L = typename Out::lanes;
  const int64_t inputs = params.inputs;
  for (int64_t n = first; n < last; n += kFewRowsOutputs) {
    const int64_t outputs = last - n < kFewRowsOutputs ? last - n : kFewRowsOutputs;
    const scalar_t* weights[kFewRowsOutputs];
    for (int64_t r = 0; r < kFewRowsOutputs; ++r) {  // the last eight are filled up with the first
      weights[r] = params.weight + (n + (r < outputs ? r : 0)) * inputs;
    }
    // The next eight rows of the weights, in as many shares as there are tiles of these.
    const int64_t tiles = (params.rows + kMostRows - 1) / kMostRows * (kMostRows == 2 ? 2 : 1);
    const int64_t steps = tiles * (inputs / Factors<scalar_t>::kStep);
    const int64_t bytes = kFewRowsOutputs * inputs * static_cast<int64_t>(sizeof(scalar_t));
    Ahead ahead{reinterpret_cast<const char*>(params.weight + (n + kFewRowsOutputs) * inputs),
                steps == 0 ? 0 : (bytes + 64 * steps - 1) / (64 * steps)};
    for (int64_t m = 0; m < params.rows; m += kMostRows) {
      const int64_t rows = params.rows - m < kMostRows ? params.rows - m : kMostRows;
      const scalar_t* x = params.x + m * inputs;
      Sum<scalar_t> products[8 * kMostRows + 16];  // the last is read in whole registers
      if (rows == 1) {
        eight_outputs<scalar_t, 1>(x, weights, inputs, ahead, products);
      } else if (rows == 2) {
        eight_outputs<scalar_t, 2>(x, weights, inputs, ahead, products);
      } else {
        eight_outputs<scalar_t, kMostRows>(x, weights, inputs, ahead, products);
      }
      ahead.next += bytes * rows / params.rows;
      for (int64_t i = 0; i < rows; ++i) {
        for_registers<L>(outputs, [&](int64_t d, int64_t count) LEXFORGE_INLINED {
          auto y = L::load_any(products + 8 * i + d);
          if (params.bias != nullptr) y = L::add(y, Out::load(params.bias + n + d, count));
          Out::store(params.y + (m + i) * params.outputs + n + d, y, count);
        });
      }
    }
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t) \
  template void few_rows_linear(const FewRowsLinearParams<scalar_t>&, int64_t, int64_t);
#if !defined(LEXFORGE_ISA_AVX512_BF16)
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
#endif
LEXFORGE_INSTANTIATE(Bfloat16)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
