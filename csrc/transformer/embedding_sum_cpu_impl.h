// CPU kernels of embedding_sum.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/transformer/embedding_sum.py.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "transformer/embedding_sum.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/dropout_simd.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {

// ---- Workspace ---------------------------------------------------------------------------------

// Two rows of numbers, a row of zeros, and what dropout keeps of a row.
template <typename stat_t>
struct EmbeddingWorkspace {
  stat_t *first, *second, *zeros;
  uint8_t* kept;

  static LEXFORGE_INLINE int64_t row(int64_t width) { return (width + 15) / 16 * 16; }
  LEXFORGE_INLINE EmbeddingWorkspace(void* memory, int64_t width)
      : first(static_cast<stat_t*>(memory)),
        second(first + row(width)),
        zeros(second + row(width)),
        kept(reinterpret_cast<uint8_t*>(zeros + row(width))) {
    for (int64_t h = 0; h < width; ++h) zeros[h] = 0;
  }
};

template <typename stat_t>
int64_t embedding_workspace(int64_t width) {
  const int64_t bytes =
      3 * EmbeddingWorkspace<stat_t>::row(width) * static_cast<int64_t>(sizeof(stat_t)) +
      dropout_bytes(width);
  return (bytes + 63) / 64 * 64;
}

// ---- Rows --------------------------------------------------------------------------------------

// The three summands of z[t].
template <typename stat_t>
struct Summands {
  const stat_t *token, *segment, *position;

  LEXFORGE_INLINE Summands(const EmbeddingRows<stat_t>& rows, int64_t t, const stat_t* zeros)
      : token(rows.token_table + rows.tokens[t] * rows.width),
        segment(rows.segments == nullptr ? zeros
                                         : rows.segment_table + rows.segments[t] * rows.width),
        position(rows.position_table + rows.positions[t] * rows.width) {}

  template <typename L>
  LEXFORGE_INLINE typename L::reg sum(int64_t h, int64_t n) const {
    using S = RowValues<stat_t>;
    return L::add(L::add(S::load(token + h, n), S::load(segment + h, n)), S::load(position + h, n));
  }
};

// x through the dropout of row t, from its element h on.
template <typename L>
LEXFORGE_INLINE typename L::reg dropped(typename L::reg x, const Dropout& dropout,
                                        const uint8_t* kept, int64_t begin, int64_t h) {
  if (dropout.seed == nullptr) return x;
  return keep_lanes<L>(L::mul(x, L::broadcast(dropout.scale)), kept, begin % 8 + h);
}

template <typename out_t, typename stat_t>
void embedding_sum(const EmbeddingSumParams<out_t, stat_t>& params, int64_t first, int64_t last,
                   void* workspace) {
  using V = RowValues<out_t>;
  using S = RowValues<stat_t>;
  using L = typename S::lanes;
  using reg = typename L::reg;
  const EmbeddingRows<stat_t>& rows = params.rows;
  const int64_t width = rows.width;
  const EmbeddingWorkspace<stat_t> work(workspace, width);
  const auto one_by_width = static_cast<stat_t>(1.0 / static_cast<double>(width));
  for (int64_t t = first; t < last; ++t) {
    const Summands<stat_t> summands(rows, t, work.zeros);
    out_t* out = params.out + t * width;
    const int64_t begin = t * width;
    if (rows.dropout.seed != nullptr) {
      dropout_keep_bits(rows.dropout, static_cast<uint64_t>(begin), width, RandomStream::kEmbedding,
                        work.kept);
    }
    if (rows.weight == nullptr) {
      for (int64_t h = 0; h < width; h += L::kWidth) {
        const int64_t n = width - h;
        const reg z = summands.template sum<L>(h, n);
        V::store(out + h, dropped<L>(z, rows.dropout, work.kept, begin, h), n);
      }
      continue;
    }
    reg sum = L::zero();
    for (int64_t h = 0; h < width; h += L::kWidth) {
      const int64_t n = width - h;
      const reg z = summands.template sum<L>(h, n);
      S::store(work.first + h, z, n);
      sum = L::add(sum, z);
    }
    const stat_t mean = L::sum(sum) * one_by_width;
    stat_t means[L::kWidth];  // the lanes beyond the row's end are to stay 0
    L::store_any(means, L::broadcast(mean));
    reg squares = L::zero();
    for (int64_t h = 0; h < width; h += L::kWidth) {
      const int64_t n = width - h;
      const reg x = L::sub(S::load(work.first + h, n), S::load(means, n));
      squares = L::fma(x, x, squares);
    }
    const stat_t rstd =
        1 / std::sqrt(L::sum(squares) * one_by_width + static_cast<stat_t>(params.eps));
    for (int64_t h = 0; h < width; h += L::kWidth) {
      const int64_t n = width - h;
      const reg x =
          L::mul(L::sub(S::load(work.first + h, n), L::broadcast(mean)), L::broadcast(rstd));
      const reg y = L::fma(x, S::load(rows.weight + h, n), S::load(params.bias + h, n));
      V::store(out + h, dropped<L>(y, rows.dropout, work.kept, begin, h), n);
    }
    params.mean[t] = mean;
    params.rstd[t] = rstd;
  }
}

template <typename out_t, typename stat_t>
void embedding_sum_backward(const EmbeddingSumBackwardParams<out_t, stat_t>& params,
                            int64_t first_group, int64_t last, void* workspace) {
  using V = RowValues<out_t>;
  using S = RowValues<stat_t>;
  using L = typename S::lanes;
  using reg = typename L::reg;
  const EmbeddingRows<stat_t>& rows = params.rows;
  const int64_t width = rows.width;
  const EmbeddingWorkspace<stat_t> work(workspace, width);
  const auto one_by_width = static_cast<stat_t>(1.0 / static_cast<double>(width));
  for (int64_t group = first_group; group < last; ++group) {
    stat_t* grad_weight = params.partial + 2 * group * width;
    stat_t* grad_bias = grad_weight + width;
    if (rows.weight != nullptr) {
      for (int64_t h = 0; h < 2 * width; ++h) grad_weight[h] = 0;
    }
    const int64_t end = (group + 1) * params.group;
    for (int64_t t = group * params.group; t < (end < rows.count ? end : rows.count); ++t) {
      const int64_t begin = t * width;
      const out_t* grad = params.grad_out + begin;
      stat_t* to = params.grad_sum + begin;
      if (rows.dropout.seed != nullptr) {
        dropout_keep_bits(rows.dropout, static_cast<uint64_t>(begin), width,
                          RandomStream::kEmbedding, work.kept);
      }
      if (rows.weight == nullptr) {
        for (int64_t h = 0; h < width; h += L::kWidth) {
          const int64_t n = width - h;
          const reg g = V::load(grad + h, n);
          S::store(to + h, dropped<L>(g, rows.dropout, work.kept, begin, h), n);
        }
        continue;
      }
      const Summands<stat_t> summands(rows, t, work.zeros);
      const reg mean = L::broadcast(params.mean[t]), rstd = L::broadcast(params.rstd[t]);
      reg sum = L::zero(), sum_x = L::zero();
      for (int64_t h = 0; h < width; h += L::kWidth) {
        const int64_t n = width - h;
        const reg d = dropped<L>(V::load(grad + h, n), rows.dropout, work.kept, begin, h);
        const reg x = L::mul(L::sub(summands.template sum<L>(h, n), mean), rstd);
        S::store(grad_weight + h, L::fma(d, x, S::load(grad_weight + h, n)), n);
        S::store(grad_bias + h, L::add(d, S::load(grad_bias + h, n)), n);
        const reg e = L::mul(d, S::load(rows.weight + h, n));
        S::store(work.first + h, e, n);
        S::store(work.second + h, x, n);
        sum = L::add(sum, e);
        sum_x = L::fma(e, x, sum_x);
      }
      const reg mean_e = L::broadcast(L::sum(sum) * one_by_width);
      const reg mean_ex = L::broadcast(L::sum(sum_x) * one_by_width);
      for (int64_t h = 0; h < width; h += L::kWidth) {
        const int64_t n = width - h;
        const reg x = S::load(work.second + h, n);
        const reg e = L::sub(S::load(work.first + h, n), mean_e);
        S::store(to + h, L::mul(rstd, L::fnma(x, mean_ex, e)), n);
      }
    }
  }
}

// ---- Sums of rows ------------------------------------------------------------------------------

// to[h ..] for kRegisters neighbouring registers; a single one may be a row's last.
template <typename L, int kRegisters, typename from_t>
LEXFORGE_INLINE void sum_columns(const from_t* from, const int32_t* members, int64_t count,
                                 int64_t width, int64_t h, typename L::scalar* to) {
  using V = RowValues<from_t>;
  using S = RowValues<typename L::scalar>;
  const int64_t n = kRegisters > 1 ? L::kWidth : width - h;
  typename L::reg sum[kRegisters];
#pragma GCC unroll 8
  for (int j = 0; j < kRegisters; ++j) sum[j] = L::zero();
  for (int64_t m = 0; m < count; ++m) {
    const from_t* row = from + members[m] * width + h;
#pragma GCC unroll 8
    for (int j = 0; j < kRegisters; ++j) {
      sum[j] = L::add(sum[j], V::load(row + j * L::kWidth, n));
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < kRegisters; ++j) S::store(to + h + j * L::kWidth, sum[j], n);
}

template <typename from_t, typename stat_t>
void embedding_grad_sums(const EmbeddingGradSums<from_t, stat_t>& sums, int64_t first_sum,
                         int64_t last) {
  using L = typename RowValues<stat_t>::lanes;
  constexpr int kRegisters = 8;
  const int64_t width = sums.width;
  for (int64_t j = first_sum; j < last; ++j) {
    const int32_t* members = sums.members + sums.begin[j];
    const int64_t count = sums.begin[j + 1] - sums.begin[j];
    const int64_t target = sums.target[j];
    stat_t* to = target >= 0 ? sums.to + target * width : sums.partial + ~target * width;
    int64_t h = 0;
    for (; h + kRegisters * L::kWidth <= width; h += kRegisters * L::kWidth) {
      sum_columns<L, kRegisters>(sums.from, members, count, width, h, to);
    }
    for (; h < width; h += L::kWidth) {
      sum_columns<L, 1>(sums.from, members, count, width, h, to);
    }
  }
}

#define LEXFORGE_INSTANTIATE(out_t, stat_t)                                                       \
  template void embedding_sum(const EmbeddingSumParams<out_t, stat_t>&, int64_t, int64_t, void*); \
  template void embedding_sum_backward(const EmbeddingSumBackwardParams<out_t, stat_t>&, int64_t, \
                                       int64_t, void*);                                           \
  template void embedding_grad_sums(const EmbeddingGradSums<out_t, stat_t>&, int64_t, int64_t);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE
template int64_t embedding_workspace<float>(int64_t);
template int64_t embedding_workspace<double>(int64_t);

}  // namespace lexforge::LEXFORGE_ISA
