// CPU kernels of glove_loss.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/glove/glove_loss.py.
#include <cmath>
#include <cstdint>

#include "glove/glove_loss.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_lanes.h"

namespace lexforge::LEXFORGE_ISA {

// scores[i] = dot(a(i), b(i)) for i < count; entries up to the next multiple of eight are
// overwritten.
template <typename L, typename RowA, typename RowB>
LEXFORGE_INLINE void dot_pairs(int64_t dim, int64_t count, const RowA& a, const RowB& b,
                               typename L::scalar* scores) {
  constexpr int64_t kTile = 8;
  const int64_t whole = dim - dim % L::kWidth;
  for (int64_t i = 0; i < count; i += kTile) {
    typename L::reg sum[kTile];
#pragma GCC unroll 8
    for (int64_t t = 0; t < kTile; ++t) {
      const int64_t n = i + t < count ? i + t : i;  // a last tile is filled up with its first pair
      const typename L::scalar *x = a(n), *y = b(n);
      sum[t] = L::zero();
      for (int64_t d = 0; d < whole; d += L::kWidth) {
        sum[t] = L::fma(L::load_any(x + d), L::load_any(y + d), sum[t]);
      }
      if (whole < dim) {
        sum[t] = L::fma(L::load_first(x + whole, dim - whole),
                        L::load_first(y + whole, dim - whole), sum[t]);
      }
    }
    L::sum8(sum, scores + i);
  }
}

template <typename scalar_t>
void glove_loss(const GloveLossParams<scalar_t>& params, int64_t first_entry, int64_t last) {
  using L = typename LanesOf<scalar_t>::type;
  const int64_t dim = params.dim;
  const auto one = L::broadcast(scalar_t(1)), two = L::broadcast(scalar_t(2));
  const auto alpha = L::broadcast(static_cast<scalar_t>(params.alpha));
  const auto log_x_max = L::broadcast(std::log(static_cast<scalar_t>(params.x_max)));
  for (int64_t first = first_entry; first < last; first += kChunk) {
    const int64_t count = last - first < kChunk ? last - first : kChunk;
    const int32_t *rows = params.rows + first, *cols = params.cols + first;
    scalar_t scores[kChunk], log_counts[kChunk];
    dot_pairs<L>(
        dim, count, [&](int64_t i) { return params.word + rows[i] * dim; },
        [&](int64_t i) { return params.context + cols[i] * dim; }, scores);
    for (int64_t i = 0; i < count; ++i) {
      scores[i] += params.word_bias[rows[i]] + params.context_bias[cols[i]];
      log_counts[i] = std::log(params.counts[first + i]);
    }
    for (int64_t i = 0; i < count; i += L::kWidth) {
      const auto log_x = L::load_first(log_counts + i, count - i);
      const auto e = L::sub(L::load_first(scores + i, count - i), log_x);
      // min gives its second argument when either is NaN.
      const auto h = L::min(one, Numerics<L>::exp(L::mul(alpha, L::sub(log_x, log_x_max))));
      const auto he = L::mul(h, e);
      L::store_first(params.loss + first + i, L::mul(he, e), count - i);
      L::store_first(params.slope + first + i, L::mul(two, he), count - i);
    }
  }
}

template <typename scalar_t>
void glove_loss_grad(const GloveLossSide<scalar_t>& side, const RowGroups& groups,
                     int64_t first_group, int64_t last) {
  using L = typename LanesOf<scalar_t>::type;
  for (int64_t g = first_group; g < last; ++g) {
    const int32_t* entry = groups.members + groups.begin[g];
    const int64_t count = groups.begin[g + 1] - groups.begin[g];
    const auto coefficient = [&](int64_t i) {
      return side.slope[entry[i]] * side.grad_loss[entry[i]];
    };
    scalar_t* grad = side.grad + groups.rows[g] * side.dim;
    weighted_rows<L>(
        side.dim, count,
        [&](int64_t i) { return side.other + side.other_row[entry[i]] * side.dim; }, coefficient,
        [&](int64_t d, int64_t n, typename L::reg sum) { L::store_first(grad + d, sum, n); });
    scalar_t bias = 0;
    for (int64_t i = 0; i < count; ++i) bias += coefficient(i);
    side.grad_bias[groups.rows[g]] = bias;
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                          \
  template void glove_loss(const GloveLossParams<scalar_t>&, int64_t, int64_t); \
  template void glove_loss_grad(const GloveLossSide<scalar_t>&, const RowGroups&, int64_t, int64_t);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
