// CPU kernels of add_layer_norm.h: one body, compiled per instruction set. The numbers of a row
// stay in the first-level cache between its passes.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "transformer/add_layer_norm.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/dropout_simd.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {

// Numbers whose dropout is drawn at a time: some rows, or a part of one.
constexpr int64_t kDrawn = 4096;

// The row's h, in order: f(d, n, h) for every register.
template <typename scalar_t, typename stat_t, bool kDropout, typename Params, typename F>
LEXFORGE_INLINE void for_sums(const Params& params, int64_t row, const F& f) {
  using V = RowValues<scalar_t>;
  using S = RowValues<stat_t>;
  using L = typename V::lanes;
  const int64_t dim = params.dim;
  const auto scale = L::broadcast(static_cast<stat_t>(params.dropout.scale));
  const scalar_t* x = params.x + row * dim;
  const scalar_t* residual = params.residual == nullptr ? nullptr : params.residual + row * dim;
  const auto one = [&](int64_t d, int64_t n, const uint8_t* bits, int64_t bit) {
    auto h = V::load(x + d, n);
    if (params.x_bias != nullptr) h = L::add(h, S::load(params.x_bias + d, n));
    if constexpr (kDropout) h = L::mul(keep_lanes<L>(h, bits, bit), scale);
    if (residual != nullptr) h = L::add(h, V::load(residual + d, n));
    f(d, n, h, bits, bit);
  };
  if constexpr (!kDropout) {
    for_registers<L>(dim, [&](int64_t d, int64_t n) { one(d, n, nullptr, 0); });
    return;
  }
  uint8_t bits[dropout_bytes(kDrawn)];
  for (int64_t part = 0; part < dim; part += kDrawn) {
    const int64_t count = dim - part < kDrawn ? dim - part : kDrawn;
    const auto first = static_cast<uint64_t>(row * dim + part);
    dropout_keep_bits(params.dropout, first, count, RandomStream::kAddNorm, bits);
    for_registers<L>(count, [&](int64_t d, int64_t n) {
      one(part + d, n, bits, static_cast<int64_t>(first % 8) + d);
    });
  }
}

// x with zeros in the lanes from n on.
template <typename L>
LEXFORGE_INLINE typename L::reg first_lanes(typename L::reg x, int64_t n) {
  if (n >= L::kWidth) return x;
  typename L::scalar lanes[L::kWidth];
  L::store_any(lanes, x);
  return L::load_first(lanes, n);
}

template <typename scalar_t, typename stat_t, bool kDropout>
void norm_rows(const AddLayerNormParams<scalar_t, stat_t>& params, int64_t first_row, int64_t last,
               stat_t* h) {
  using V = RowValues<scalar_t>;
  using S = RowValues<stat_t>;
  using L = typename V::lanes;
  const int64_t dim = params.dim;
  for (int64_t row = first_row; row < last; ++row) {
    auto sum = L::zero();
    for_sums<scalar_t, stat_t, kDropout>(
        params, row, [&](int64_t d, int64_t, typename L::reg x, const uint8_t*, int64_t) {
          L::store_any(h + d, x);
          sum = L::add(sum, x);
        });
    const stat_t mean = L::sum(sum) / static_cast<stat_t>(dim);
    const auto means = L::broadcast(mean);
    auto squares = L::zero();
    for_registers<L>(dim, [&](int64_t d, int64_t n) {
      const auto centred = first_lanes<L>(L::sub(L::load_any(h + d), means), n);
      squares = L::fma(centred, centred, squares);
    });
    const stat_t variance = L::sum(squares) / static_cast<stat_t>(dim);
    const stat_t rstd = stat_t(1) / std::sqrt(variance + static_cast<stat_t>(params.eps));
    const auto factors = L::broadcast(rstd);
    scalar_t* y = params.y + row * dim;
    for_registers<L>(dim, [&](int64_t d, int64_t n) {
      const auto normal = L::mul(L::sub(L::load_any(h + d), means), factors);
      V::store(y + d, L::fma(normal, S::load(params.weight + d, n), S::load(params.bias + d, n)),
               n);
    });
    params.mean[row] = mean;
    params.rstd[row] = rstd;
  }
}

template <typename scalar_t, typename stat_t>
void add_layer_norm(const AddLayerNormParams<scalar_t, stat_t>& params, int64_t first_row,
                    int64_t last, stat_t* workspace) {
  if (params.dropout.threshold != 0) {
    norm_rows<scalar_t, stat_t, true>(params, first_row, last, workspace);
  } else {
    norm_rows<scalar_t, stat_t, false>(params, first_row, last, workspace);
  }
}

template <typename stat_t>
LEXFORGE_INLINE void add_to_row(stat_t* to, typename RowValues<stat_t>::reg x, int64_t n) {
  using S = RowValues<stat_t>;
  S::store(to, S::lanes::add(S::load(to, n), x), n);
}

template <typename scalar_t, typename stat_t, bool kDropout>
void backward_rows(const AddLayerNormBackwardParams<scalar_t, stat_t>& params, RowRange rows,
                   stat_t* partial, stat_t* workspace) {
  using V = RowValues<scalar_t>;
  using S = RowValues<stat_t>;
  using L = typename V::lanes;
  const int64_t dim = params.dim;
  stat_t *normal = workspace, *factor = workspace + dim + 64;  // t, and z where it is drawn
  stat_t *grad_weight = partial, *grad_bias = partial + dim, *grad_x_bias = partial + 2 * dim;
  const auto scale = L::broadcast(static_cast<stat_t>(params.dropout.scale));
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const scalar_t* grad_y = params.grad_y + row * dim;
    const auto mean = L::broadcast(params.mean[row]), rstd = L::broadcast(params.rstd[row]);
    auto a = L::zero(), b = L::zero();
    for_sums<scalar_t, stat_t, kDropout>(
        params, row,
        [&](int64_t d, int64_t n, typename L::reg h, const uint8_t* bits, int64_t bit) {
          const auto t = L::mul(L::sub(h, mean), rstd);
          L::store_any(normal + d, t);
          if constexpr (kDropout) L::store_any(factor + d, keep_lanes<L>(scale, bits, bit));
          const auto g = V::load(grad_y + d, n);
          add_to_row(grad_weight + d, L::mul(g, t), n);
          add_to_row(grad_bias + d, g, n);
          const auto weighted = L::mul(g, S::load(params.weight + d, n));
          a = L::add(a, weighted);
          b = L::fma(weighted, t, b);
        });
    const auto mean_a = L::broadcast(L::sum(a) / static_cast<stat_t>(dim));
    const auto mean_b = L::broadcast(L::sum(b) / static_cast<stat_t>(dim));
    scalar_t* grad_x = params.grad_x + row * dim;
    scalar_t* grad_residual =
        params.grad_residual == nullptr ? nullptr : params.grad_residual + row * dim;
    for_registers<L>(dim, [&](int64_t d, int64_t n) {
      const auto weighted = L::mul(V::load(grad_y + d, n), S::load(params.weight + d, n));
      const auto centred = L::sub(weighted, L::fma(L::load_any(normal + d), mean_b, mean_a));
      auto grad = L::mul(rstd, centred);
      if (grad_residual != nullptr) V::store(grad_residual + d, grad, n);
      if constexpr (kDropout) grad = L::mul(grad, L::load_any(factor + d));
      V::store(grad_x + d, grad, n);
      if (params.x_bias != nullptr) add_to_row(grad_x_bias + d, grad, n);
    });
  }
}

template <typename scalar_t, typename stat_t>
void add_layer_norm_backward(const AddLayerNormBackwardParams<scalar_t, stat_t>& params,
                             int64_t first_group, int64_t last, stat_t* workspace) {
  for (int64_t group = first_group; group < last; ++group) {
    stat_t* partial = params.partial + group * 3 * params.dim;
    for (int64_t i = 0; i < 3 * params.dim; ++i) partial[i] = 0;
    const RowRange rows = add_layer_norm_group(group, params.groups, params.rows);
    if (params.dropout.threshold != 0) {
      backward_rows<scalar_t, stat_t, true>(params, rows, partial, workspace);
    } else {
      backward_rows<scalar_t, stat_t, false>(params, rows, partial, workspace);
    }
  }
}

template <typename scalar_t, typename stat_t>
void add_layer_norm_join(const AddLayerNormBackwardParams<scalar_t, stat_t>& params,
                         int64_t first_column, int64_t last) {
  using S = RowValues<stat_t>;
  using L = typename S::lanes;
  stat_t* sums[] = {params.grad_weight, params.grad_bias, params.grad_x_bias};
  for (int64_t which = 0; which < 3; ++which) {
    if (sums[which] == nullptr) continue;
    for_registers<L>(last - first_column, [&](int64_t d, int64_t n) {
      const int64_t column = first_column + d;
      auto sum = L::zero();
      for (int64_t group = 0; group < params.groups; ++group) {
        sum = L::add(sum, S::load(params.partial + (3 * group + which) * params.dim + column, n));
      }
      S::store(sums[which] + column, sum, n);
    });
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                    \
  template void add_layer_norm(const AddLayerNormParams<scalar_t, stat_t>&, int64_t, int64_t,     \
                               stat_t*);                                                          \
  template void add_layer_norm_backward(const AddLayerNormBackwardParams<scalar_t, stat_t>&,      \
                                        int64_t, int64_t, stat_t*);                               \
  template void add_layer_norm_join(const AddLayerNormBackwardParams<scalar_t, stat_t>&, int64_t, \
                                    int64_t);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
