// CPU kernels of weight_gradient.h: one body, compiled per instruction set.
//
// For a block of t, the rows of grad_out are packed (second-level cache), and so are the rows of x,
// a panel of columns at a time (first-level cache); then every tile of the panel is summed in
// registers. A packed element is what one lane multiplies at a time: a number, or the pair of
// bfloat16 numbers of two rows.
#include <cmath>
#include <cstring>
#include <type_traits>

#include "common/bfloat16.h"
#include "transformer/weight_gradient.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Rows of a register tile, and its registers per row; 6 x 4 of 32 registers, or 6 x 2 of 16.
constexpr int64_t kTileRows = 6;
#if defined(LEXFORGE_ISA_AVX512)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif
// Packed rows of a block.
constexpr int64_t kDepth = 128;

constexpr int64_t kLine = 64;  // bytes that are fetched together

// Registers of a packed row.
template <typename L>
constexpr int64_t kMostRegisters = kWeightGradientOutputs / L::kWidth;

constexpr int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

// How rows become packed elements.
template <typename scalar_t>
struct Packing {
  using Values = RowValues<scalar_t>;
  using L = typename Values::lanes;
  using reg = typename L::reg;
  static constexpr int64_t kPack = 1;
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) { return L::fma(a, b, c); }
  // n numbers of one row, and their sum with `sum`.
  static LEXFORGE_INLINE reg pack(const scalar_t* row, const scalar_t*, int64_t n, reg& sum) {
    const reg x = Values::load(row, n);
    sum = L::add(sum, x);
    return x;
  }
};

#if defined(LEXFORGE_ISA_AVX512_BF16)
template <>
struct Packing<Bfloat16> {
  using Values = RowValues<Bfloat16>;
  using L = FloatLanes;
  using reg = __m512;
  static constexpr int64_t kPack = 2;
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  // n numbers of two rows in pairs; no lower row means zeros.
  static LEXFORGE_INLINE reg pack(const Bfloat16* upper, const Bfloat16* lower, int64_t n,
                                  reg& sum) {
    const reg low = Values::load(upper, n);
    const reg high = lower == nullptr ? L::zero() : Values::load(lower, n);
    sum = L::add(sum, L::add(low, high));
    const __m512i word = _mm512_srli_epi32(_mm512_castps_si512(low), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(word, _mm512_castps_si512(high)));
  }
};
#endif

// Packs columns [0, columns) of `rows` rows, `step` elements apart, with zeros up to the next whole
// register; adds their sums to `sums` if there are any. Meanwhile as many rows from `next` on are
// fetched into the second-level cache: they lie far apart, so that the processor does not do it.
template <typename scalar_t, typename stat_t>
LEXFORGE_INLINE void pack_rows(const scalar_t* from, const scalar_t* next, int64_t row,
                               int64_t rows, int64_t columns, stat_t* to, int64_t step,
                               stat_t* sums) {
  using P = Packing<scalar_t>;
  using L = typename P::L;
  using Sums = RowValues<stat_t>;
  typename L::reg sum[kMostRegisters<L>];
  for (auto& x : sum) x = L::zero();
  for (int64_t t = 0; t < rows; t += P::kPack, from += P::kPack * row, to += step) {
    const scalar_t* lower = t + 1 < rows ? from + row : nullptr;
    for (int64_t j = 0, i = 0; j < columns; j += L::kWidth, ++i) {
      const int64_t n = lesser(columns - j, L::kWidth);
      L::store_any(to + j, P::pack(from + j, lower == nullptr ? nullptr : lower + j, n, sum[i]));
    }
    for (int64_t k = 0; k < P::kPack; ++k, next += row) {
      for (int64_t j = 0; j < columns; j += kLine / static_cast<int64_t>(sizeof(scalar_t))) {
        __builtin_prefetch(next + j, 0, 2);
      }
    }
  }
  if (sums == nullptr) return;
  for (int64_t j = 0, i = 0; j < columns; j += L::kWidth, ++i) {
    const int64_t n = lesser(columns - j, L::kWidth);
    Sums::store(sums + j, L::add(Sums::load(sums + j, n), sum[i]), n);
  }
}

// c[m][n] += sum over k < depth of a[k * a_step + m] * b[k * b_step + n], for the first `rows` of
// kTileRows rows and the first `columns` of N registers. `fresh` overwrites c.
template <typename P, int N, typename stat_t>
__attribute__((noinline)) void tile(const stat_t* a, int64_t a_step, const stat_t* b,
                                    int64_t b_step, int64_t depth, stat_t* c, int64_t c_row,
                                    int64_t rows, int64_t columns, bool fresh) {
  using L = typename P::L;
  using reg = typename L::reg;
  using Values = RowValues<stat_t>;
  reg sum[kTileRows][N];  // registers, as long as every loop over it is unrolled
#pragma GCC unroll 6
  for (int m = 0; m < kTileRows; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum[m][n] = L::zero();
    if (!fresh && m < rows) {
      for (int n = 0; n < N; ++n) __builtin_prefetch(c + m * c_row + n * L::kWidth, 1);
    }
  }
  for (int64_t k = depth; k > 0; --k, a += a_step, b += b_step) {
    reg column[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) column[n] = L::load_any(b + n * L::kWidth);
#pragma GCC unroll 6
    for (int m = 0; m < kTileRows; ++m) {
      const reg x = L::broadcast(a[m]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[m][n] = P::multiply_add(x, column[n], sum[m][n]);
    }
  }
#pragma GCC unroll 6
  for (int m = 0; m < kTileRows; ++m) {
    if (m >= rows) break;
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      stat_t* to = c + m * c_row + n * L::kWidth;
      const int64_t count = columns - n * L::kWidth;
      if (count <= 0) break;
      Values::store(to, fresh ? sum[m][n] : L::add(Values::load(to, count), sum[m][n]), count);
    }
  }
}

template <typename P, typename stat_t>
LEXFORGE_INLINE auto* tile_of(int64_t columns) {
  constexpr int64_t kWidth = P::L::kWidth;
  if (columns <= kWidth) return &tile<P, 1, stat_t>;
  if constexpr (kTileVectors > 2) {
    if (columns <= 2 * kWidth) return &tile<P, 2, stat_t>;
    if (columns <= 3 * kWidth) return &tile<P, 3, stat_t>;
  }
  return &tile<P, kTileVectors, stat_t>;
}

}  // namespace

// Packed rows of grad_out, of one panel of x.
template <typename scalar_t, typename stat_t>
int64_t weight_gradient_workspace() {
  return kDepth * (kWeightGradientOutputs + kWeightGradientInputs) *
         static_cast<int64_t>(sizeof(stat_t));
}

template <typename scalar_t, typename stat_t>
void weight_gradient(const WeightGradientParams<scalar_t, stat_t>& params, WeightGradientPart part,
                     void* workspace) {
  using P = Packing<scalar_t>;
  constexpr int64_t kPanel = kTileVectors * P::L::kWidth;
  static_assert(kPanel <= kWeightGradientInputs && kWeightGradientOutputs % kTileRows == 0 &&
                kWeightGradientOutputs % P::L::kWidth == 0);
  stat_t* a = static_cast<stat_t*>(workspace);
  stat_t* b = a + kDepth * kWeightGradientOutputs;
  const int64_t outputs = part.last_output - part.first_output;
  stat_t* bias = nullptr;
  if (params.grad_bias != nullptr && part.first_input == 0) {
    bias = params.grad_bias + part.first_output;
    if (!params.add) std::memset(bias, 0, static_cast<size_t>(outputs) * sizeof *bias);
  }
  // The last tile's rows beyond the last output are summed, and left out when it is written.
  if (outputs < kWeightGradientOutputs) {
    std::memset(a, 0, static_cast<size_t>(kDepth * kWeightGradientOutputs) * sizeof *a);
  }
  for (int64_t first = 0; first < params.rows || first == 0; first += kDepth * P::kPack) {
    const int64_t rows = lesser(params.rows - first, kDepth * P::kPack);
    const int64_t depth = (rows + P::kPack - 1) / P::kPack;
    const bool fresh = first == 0 && !params.add;
    const bool ends = first + kDepth * P::kPack >= params.rows;
    const scalar_t* grad_out = params.grad_out + first * params.grad_out_row + part.first_output;
    pack_rows(grad_out,
              ends ? params.grad_out + part.last_output
                   : grad_out + kDepth * P::kPack * params.grad_out_row,
              params.grad_out_row, rows, outputs, a, kWeightGradientOutputs, bias);
    for (int64_t n = part.first_input; n < part.last_input; n += kPanel) {
      const int64_t columns = lesser(part.last_input - n, kPanel);
      const scalar_t* x = params.x + first * params.x_row + n;
      pack_rows(x, x + kDepth * P::kPack * params.x_row, params.x_row, rows, columns, b, kPanel,
                static_cast<stat_t*>(nullptr));
      auto* sum = tile_of<P, stat_t>(columns);
      for (int64_t m = 0; m < outputs; m += kTileRows) {
        sum(a + m, kWeightGradientOutputs, b, kPanel, depth,
            params.grad_weight + (part.first_output + m) * params.inputs + n, params.inputs,
            outputs - m, columns, fresh);
      }
    }
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                     \
  template int64_t weight_gradient_workspace<scalar_t, stat_t>();                                  \
  template void weight_gradient(const WeightGradientParams<scalar_t, stat_t>&, WeightGradientPart, \
                                void*);
LEXFORGE_INSTANTIATE(Bfloat16, float)
#if !defined(LEXFORGE_ISA_AVX512_BF16)
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
#endif
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
