// CPU kernels of add_layer_norm.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/transformer/add_layer_norm.py.
//
// Rows go through their passes kRows at a time: what lies in the first-level cache then serves the
// later ones, vectors that all rows share are read once for kRows, and so many sums that do not
// wait for one another are under way.
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

constexpr int kRows = kAddLayerNormRows;

// Numbers of a row in the workspace: whole registers, and no power of two apart.
constexpr int64_t row_stride(int64_t dim) { return (dim + 15) / 16 * 16 + 16; }

template <typename stat_t>
int64_t add_layer_norm_workspace(int64_t dim) {
  return kRows * row_stride(dim) * static_cast<int64_t>(sizeof(stat_t)) +
         dropout_bytes(kRows * dim);
}

// Some rows of a problem and what makes their h; the workspace holds a number for each of theirs,
// and then the bits of dropout_keep_bits.
template <typename scalar_t, typename stat_t, bool kDropout, typename Params>
struct NormRows {
  using V = RowValues<scalar_t>;
  using S = RowValues<stat_t>;
  using L = typename V::lanes;
  using reg = typename L::reg;

  const scalar_t* x;
  const scalar_t* residual;
  const stat_t* x_bias;
  int64_t dim, stride;
  bool summed;
  stat_t* workspace;
  uint8_t* bits;
  int64_t first_bit;
  reg scale;

  LEXFORGE_INLINE NormRows(const Params& params, int64_t row, int64_t rows, void* memory)
      : x(params.x + row * params.dim),
        residual(params.residual == nullptr ? nullptr : params.residual + row * params.dim),
        x_bias(params.x_bias),
        dim(params.dim),
        stride(row_stride(params.dim)),
        summed(params.summed),
        workspace(static_cast<stat_t*>(memory)),
        bits(reinterpret_cast<uint8_t*>(workspace + kRows * stride)),
        first_bit(row * params.dim % 8),
        scale(L::broadcast(static_cast<stat_t>(params.dropout.scale))) {
    if constexpr (kDropout) {
      dropout_keep_bits(params.dropout, static_cast<uint64_t>(row * dim), rows * dim,
                        RandomStream::kAddNorm, bits);
    }
  }

  // z times the numbers d ... d + n - 1 of row r.
  LEXFORGE_INLINE reg drop(int64_t r, int64_t d, reg numbers) const {
    if constexpr (!kDropout) return numbers;
    return L::mul(keep_lanes<L>(numbers, bits, first_bit + r * dim + d), scale);
  }

  LEXFORGE_INLINE reg sums(int64_t r, int64_t d, int64_t n) const {
    auto h = V::load(x + r * dim + d, n);
    if (summed) return h;
    if (x_bias != nullptr) h = L::add(h, S::load(x_bias + d, n));
    h = drop(r, d, h);
    return residual == nullptr ? h : L::add(h, V::load(residual + r * dim + d, n));
  }

  // Fetches what the next rows have at d.
  LEXFORGE_INLINE void prefetch(const scalar_t* of, int64_t r, int64_t d) const {
    if (of != nullptr) __builtin_prefetch(of + (r + kRows) * dim + d);
  }

  LEXFORGE_INLINE stat_t* numbers(int64_t r, int64_t d) const { return workspace + r * stride + d; }
};

// x with zeros in the lanes from n on.
template <typename L>
LEXFORGE_INLINE typename L::reg first_lanes(typename L::reg x, int64_t n) {
  if (n >= L::kWidth) return x;
  typename L::scalar lanes[L::kWidth];
  L::store_any(lanes, x);
  return L::load_first(lanes, n);
}

template <typename scalar_t, typename stat_t, bool kDropout, int kCount>
void norm_rows(const AddLayerNormParams<scalar_t, stat_t>& params, int64_t row, void* workspace) {
  using Rows = NormRows<scalar_t, stat_t, kDropout, AddLayerNormParams<scalar_t, stat_t>>;
  using V = typename Rows::V;
  using S = typename Rows::S;
  using L = typename Rows::L;
  using reg = typename L::reg;
  const int64_t dim = params.dim;
  const auto count = static_cast<stat_t>(dim);
  const Rows rows(params, row, kCount, workspace);

  scalar_t* to = params.sum == nullptr ? nullptr : params.sum + row * dim;

  reg sum[kCount], mean[kCount], rstd[kCount];
  for (int r = 0; r < kCount; ++r) sum[r] = L::zero();
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) {
      reg h = rows.sums(r, d, n);
      if (to != nullptr) {
        V::store(to + r * dim + d, h, n);
        if constexpr (sizeof(scalar_t) < sizeof(stat_t)) h = V::load(to + r * dim + d, n);
      }
      L::store_any(rows.numbers(r, d), h);
      sum[r] = L::add(sum[r], h);
    }
  });
  for (int r = 0; r < kCount; ++r) {
    params.mean[row + r] = L::sum(sum[r]) / count;
    mean[r] = L::broadcast(params.mean[row + r]);
    sum[r] = L::zero();
  }
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) {
      rows.prefetch(rows.x, r, d);
      rows.prefetch(rows.residual, r, d);
      const reg centred = first_lanes<L>(L::sub(L::load_any(rows.numbers(r, d)), mean[r]), n);
      sum[r] = L::fma(centred, centred, sum[r]);
    }
  });
  for (int r = 0; r < kCount; ++r) {
    const stat_t variance = L::sum(sum[r]) / count;
    params.rstd[row + r] = stat_t(1) / std::sqrt(variance + static_cast<stat_t>(params.eps));
    rstd[r] = L::broadcast(params.rstd[row + r]);
  }
  scalar_t* y = params.y + row * dim;
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    const reg weight = S::load(params.weight + d, n), bias = S::load(params.bias + d, n);
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) {
      const reg t = L::mul(L::sub(L::load_any(rows.numbers(r, d)), mean[r]), rstd[r]);
      V::store(y + r * dim + d, L::fma(t, weight, bias), n);
    }
  });
}

// The sums over the rows are added to `sums` [3, H], a group of params.partial.
template <typename scalar_t, typename stat_t, bool kDropout, int kCount>
void backward_rows(const AddLayerNormBackwardParams<scalar_t, stat_t>& params, int64_t row,
                   stat_t* sums, void* workspace) {
  using Rows = NormRows<scalar_t, stat_t, kDropout, AddLayerNormBackwardParams<scalar_t, stat_t>>;
  using V = typename Rows::V;
  using S = typename Rows::S;
  using L = typename Rows::L;
  using reg = typename L::reg;
  const int64_t dim = params.dim;
  const auto count = static_cast<stat_t>(dim);
  const Rows rows(params, row, kCount, workspace);
  const scalar_t* grad_y = params.grad_y + row * dim;
  const scalar_t* grad_sum = params.grad_sum == nullptr ? nullptr : params.grad_sum + row * dim;

  reg mean[kCount], rstd[kCount], a[kCount], b[kCount];
  for (int r = 0; r < kCount; ++r) {
    mean[r] = L::broadcast(params.mean[row + r]);
    rstd[r] = L::broadcast(params.rstd[row + r]);
    a[r] = b[r] = L::zero();
  }
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    const reg weight = S::load(params.weight + d, n);
    reg weight_sum = S::load(sums + d, n), bias_sum = S::load(sums + dim + d, n);
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) {
      const reg t = L::mul(L::sub(rows.sums(r, d, n), mean[r]), rstd[r]);
      L::store_any(rows.numbers(r, d), t);
      const reg g = V::load(grad_y + r * dim + d, n);
      weight_sum = L::fma(g, t, weight_sum);
      bias_sum = L::add(g, bias_sum);
      const reg weighted = L::mul(g, weight);
      a[r] = L::add(weighted, a[r]);
      b[r] = L::fma(weighted, t, b[r]);
    }
    S::store(sums + d, weight_sum, n);
    S::store(sums + dim + d, bias_sum, n);
  });
  for (int r = 0; r < kCount; ++r) {
    a[r] = L::broadcast(L::sum(a[r]) / count);
    b[r] = L::broadcast(L::sum(b[r]) / count);
  }
  scalar_t* grad_x = params.grad_x == nullptr ? nullptr : params.grad_x + row * dim;
  scalar_t* grad_residual =
      params.grad_residual == nullptr ? nullptr : params.grad_residual + row * dim;
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    const reg weight = S::load(params.weight + d, n);
    reg x_bias_sum = S::load(sums + 2 * dim + d, n);
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) {
      rows.prefetch(rows.x, r, d);
      rows.prefetch(rows.residual, r, d);
      rows.prefetch(grad_y, r, d);
      rows.prefetch(grad_sum, r, d);
      const reg weighted = L::mul(V::load(grad_y + r * dim + d, n), weight);
      const reg t = L::load_any(rows.numbers(r, d));
      reg grad = L::mul(rstd[r], L::fnma(t, b[r], L::sub(weighted, a[r])));
      if (grad_sum != nullptr) grad = L::add(grad, V::load(grad_sum + r * dim + d, n));
      if (grad_residual != nullptr) V::store(grad_residual + r * dim + d, grad, n);
      const reg dropped = rows.drop(r, d, grad);
      if (grad_x != nullptr) V::store(grad_x + r * dim + d, dropped, n);
      x_bias_sum = L::add(dropped, x_bias_sum);
    }
    S::store(sums + 2 * dim + d, x_bias_sum, n);
  });
}

template <typename scalar_t, typename stat_t>
void add_layer_norm(const AddLayerNormParams<scalar_t, stat_t>& params, int64_t first_row,
                    int64_t last, void* workspace) {
  const bool dropout = params.dropout.threshold != 0;
  auto* some = dropout ? &norm_rows<scalar_t, stat_t, true, kRows>
                       : &norm_rows<scalar_t, stat_t, false, kRows>;
  auto* one =
      dropout ? &norm_rows<scalar_t, stat_t, true, 1> : &norm_rows<scalar_t, stat_t, false, 1>;
  int64_t row = first_row;
  for (; row + kRows <= last; row += kRows) some(params, row, workspace);
  for (; row < last; ++row) one(params, row, workspace);
}

template <typename scalar_t, typename stat_t>
void add_layer_norm_backward_rows(const AddLayerNormBackwardParams<scalar_t, stat_t>& params,
                                  RowRange range, stat_t* sums, void* workspace) {
  const bool dropout = params.dropout.threshold != 0;
  auto* some = dropout ? &backward_rows<scalar_t, stat_t, true, kRows>
                       : &backward_rows<scalar_t, stat_t, false, kRows>;
  auto* one = dropout ? &backward_rows<scalar_t, stat_t, true, 1>
                      : &backward_rows<scalar_t, stat_t, false, 1>;
  int64_t row = range.first;
  for (; row + kRows <= range.last; row += kRows) some(params, row, sums, workspace);
  for (; row < range.last; ++row) one(params, row, sums, workspace);
}

template <typename scalar_t, typename stat_t>
void add_layer_norm_backward(const AddLayerNormBackwardParams<scalar_t, stat_t>& params,
                             int64_t first_group, int64_t last, void* workspace) {
  for (int64_t group = first_group; group < last; ++group) {
    stat_t* sums = params.partial + group * 3 * params.dim;
    for (int64_t i = 0; i < 3 * params.dim; ++i) sums[i] = 0;
    add_layer_norm_backward_rows(params, add_layer_norm_group(group, params.groups, params.rows),
                                 sums, workspace);
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
                               void*);                                                            \
  template void add_layer_norm_backward(const AddLayerNormBackwardParams<scalar_t, stat_t>&,      \
                                        int64_t, int64_t, void*);                                 \
  template void add_layer_norm_backward_rows(const AddLayerNormBackwardParams<scalar_t, stat_t>&, \
                                             RowRange, stat_t*, void*);                           \
  template void add_layer_norm_join(const AddLayerNormBackwardParams<scalar_t, stat_t>&, int64_t, \
                                    int64_t);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE
template int64_t add_layer_norm_workspace<float>(int64_t);
template int64_t add_layer_norm_workspace<double>(int64_t);

}  // namespace lexforge::LEXFORGE_ISA
