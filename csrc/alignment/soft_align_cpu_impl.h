// CPU kernels of soft_align.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/alignment/soft_align.py.
//
// The first text's tokens come in blocks of kRows, mostly one, and meet all of the second text's:
// a block has at most three matrices of scores, which stay in the caches as the pair's rows do. All
// products are of rows where they lie: lanes run along features and values, so texts of few tokens
// fill them, and nothing is packed or transposed.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "alignment/soft_align.h"
#include "common/bfloat16.h"
#include "common/scratch.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/exp2_simd.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

constexpr int64_t kRows = 64;
// Rows of a register tile, and its columns of dot products or registers of sums: 4 x 4 of 32
// registers, or 4 x 2 of 16.
constexpr int kTileRows = 4;
#if defined(LEXFORGE_ISA_AVX512)
constexpr int kTileColumns = 4;
#else
constexpr int kTileColumns = 2;
#endif
// Rows of scores are whole registers, and not a multiple of the page size apart.
constexpr int64_t kScoreUnit = 16;

constexpr int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
constexpr int64_t score_row(int64_t length) { return round_up(length, kScoreUnit) + kScoreUnit; }

template <typename scalar_t>
using LanesFor = typename RowValues<scalar_t>::lanes;
template <typename scalar_t>
using Number = typename LanesFor<scalar_t>::scalar;

// ---- Products ----------------------------------------------------------------------------------

// The dot products of kTileRows rows x with kTileColumns rows y, row by row of x.
template <typename scalar_t>
__attribute__((noinline)) void dot_tile(const scalar_t* const* x, const scalar_t* const* y,
                                        int64_t dim, Number<scalar_t>* dots) {
  using V = RowValues<scalar_t>;
  using L = LanesFor<scalar_t>;
  constexpr int kEights = kTileRows * kTileColumns / 8;
  typename L::reg sum[kEights][8];  // registers, as long as every loop over it is unrolled
#pragma GCC unroll 2
  for (int e = 0; e < kEights; ++e) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sum[e][i] = L::zero();
  }
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    typename L::reg column[kTileColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kTileColumns; ++c) column[c] = V::load(y[c] + d, n);
#pragma GCC unroll 4
    for (int r = 0; r < kTileRows; ++r) {
      const auto row = V::load(x[r] + d, n);
#pragma GCC unroll 4
      for (int c = 0; c < kTileColumns; ++c) {
        auto& total = sum[(r * kTileColumns + c) / 8][(r * kTileColumns + c) % 8];
        total = L::fma(row, column[c], total);
      }
    }
  });
#pragma GCC unroll 2
  for (int e = 0; e < kEights; ++e) L::sum8(sum[e], dots + 8 * e);
}

// scores[r][j] = dot(x_r, y_j) for r < rows, j < columns. At the edges of the last tiles their last
// rows come again.
template <typename scalar_t>
void score(const AlignRows<const scalar_t>& x, int64_t rows, const AlignRows<const scalar_t>& y,
           int64_t columns, int64_t dim, Number<scalar_t>* scores, int64_t stride) {
  for (int64_t r = 0; r < rows; r += kTileRows) {
    const int64_t last_row = lesser(kTileRows, rows - r) - 1;
    const scalar_t* left[kTileRows];
    for (int i = 0; i < kTileRows; ++i) left[i] = x.data + (r + lesser(i, last_row)) * x.stride;
    for (int64_t j = 0; j < columns; j += kTileColumns) {
      const int64_t last_column = lesser(kTileColumns, columns - j) - 1;
      const scalar_t* right[kTileColumns];
      for (int c = 0; c < kTileColumns; ++c) {
        right[c] = y.data + (j + lesser(c, last_column)) * y.stride;
      }
      Number<scalar_t> dots[kTileRows * kTileColumns];
      dot_tile(left, right, dim, dots);
      for (int64_t i = 0; i <= last_row; ++i) {
        for (int64_t c = 0; c <= last_column; ++c) {
          scores[(r + i) * stride + j + c] = dots[i * kTileColumns + c];
        }
      }
    }
  }
}

// Row r of the sums (+)= sum over k < depth of weight[r * weight_row + k * weight_step] * y_k.
template <typename scalar_t>
struct Sums {
  const Number<scalar_t>* weight;
  int64_t weight_row, weight_step;
  AlignRows<const scalar_t> y;
  int64_t depth;
  Number<scalar_t>* sums;
  int64_t row;  // whole registers
  bool add;
};

// `rows` of at most kTileRows: the last one comes again. N registers of columns, `last` numbers in
// the last of them.
template <typename scalar_t, int N>
__attribute__((noinline)) void sum_tile(const Sums<scalar_t>& work, int64_t rows, int64_t last) {
  using V = RowValues<scalar_t>;
  using L = LanesFor<scalar_t>;
  constexpr int64_t W = L::kWidth;
  typename L::reg sum[kTileRows][N];
  const Number<scalar_t>* weight[kTileRows];
  Number<scalar_t>* to[kTileRows];
#pragma GCC unroll 4
  for (int r = 0; r < kTileRows; ++r) {
    const int64_t at = lesser(r, rows - 1);
    weight[r] = work.weight + at * work.weight_row;
    to[r] = work.sums + at * work.row;
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum[r][n] = work.add ? L::load_any(to[r] + n * W) : L::zero();
  }
  const scalar_t* y = work.y.data;
  for (int64_t k = 0; k < work.depth; ++k, y += work.y.stride) {
    typename L::reg column[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) column[n] = V::load(y + n * W, n + 1 < N ? W : last);
#pragma GCC unroll 4
    for (int r = 0; r < kTileRows; ++r) {
      const auto x = L::broadcast(weight[r][k * work.weight_step]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] = L::fma(x, column[n], sum[r][n]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) L::store_any(to[r] + n * W, sum[r][n]);
  }
}

// All of the sums: `rows` rows of `dim` numbers.
template <typename scalar_t>
void sum_rows(const Sums<scalar_t>& work, int64_t rows, int64_t dim) {
  constexpr int64_t W = LanesFor<scalar_t>::kWidth;
  const int64_t registers = (dim + W - 1) / W;
  const int64_t tiles = (registers + kTileColumns - 1) / kTileColumns;
  for (int64_t t = 0; t < tiles; ++t) {  // of nearly one size
    const int64_t first = t * registers / tiles, vectors = (t + 1) * registers / tiles - first;
    const int64_t last = lesser(W, dim - (first + vectors - 1) * W);
    for (int64_t r = 0; r < rows; r += kTileRows) {
      Sums<scalar_t> tile = work;
      tile.weight += r * work.weight_row;
      tile.sums += r * work.row + first * W;
      tile.y.data += first * W;
      const int64_t count = lesser(kTileRows, rows - r);
      if (vectors == 1) {
        sum_tile<scalar_t, 1>(tile, count, last);
      } else if (vectors == 2) {
        sum_tile<scalar_t, 2>(tile, count, last);
      } else if constexpr (kTileColumns > 2) {
        if (vectors == 3) {
          sum_tile<scalar_t, 3>(tile, count, last);
        } else {
          sum_tile<scalar_t, 4>(tile, count, last);
        }
      }
    }
  }
}

// ---- Rows --------------------------------------------------------------------------------------

// The rows of a text, from its token i on.
template <typename T>
LEXFORGE_INLINE AlignRows<T> from(const AlignRows<T>& rows, int64_t i) {
  return {rows.data + i * rows.stride, rows.stride};
}

template <typename scalar_t>
LEXFORGE_INLINE void write_row(scalar_t* to, const Number<scalar_t>* sums, Number<scalar_t> factor,
                               int64_t dim) {
  using V = RowValues<scalar_t>;
  using L = LanesFor<scalar_t>;
  const auto x = L::broadcast(factor);
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    V::store(to + d, L::mul(x, L::load_any(sums + d)), n);
  });
}

template <typename scalar_t>
void write_rows(const AlignRows<scalar_t>& to, int64_t rows, const Number<scalar_t>* sums,
                int64_t row, int64_t dim) {
  for (int64_t r = 0; r < rows; ++r) write_row(to.data + r * to.stride, sums + r * row, {1}, dim);
}

template <typename scalar_t>
void write_zeros(const AlignRows<scalar_t>& to, int64_t rows, int64_t dim) {
  for (int64_t r = 0; r < rows; ++r) {
    std::memset(to.data + r * to.stride, 0, static_cast<size_t>(dim) * sizeof(scalar_t));
  }
}

template <typename scalar_t>
LEXFORGE_INLINE Number<scalar_t> dot(const scalar_t* x, const scalar_t* y, int64_t dim) {
  using V = RowValues<scalar_t>;
  using L = LanesFor<scalar_t>;
  auto sum = L::zero();
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    sum = L::fma(V::load(x + d, n), V::load(y + d, n), sum);
  });
  return L::sum(sum);
}

template <typename L>
LEXFORGE_INLINE typename L::reg exponential(typename L::reg x) {
  return exp2<L>(L::mul(x, L::broadcast(static_cast<typename L::scalar>(kLog2E))));
}

// Fills the last register of each row of scores, so that what lies beyond the last column is known.
template <typename L>
void fill_ends(typename L::scalar* scores, int64_t stride, int64_t rows, int64_t columns,
               typename L::scalar value) {
  const int64_t last = round_up(columns, L::kWidth) - L::kWidth;
  for (int64_t r = 0; r < rows; ++r) {
    L::store_any(scores + r * stride + last, L::broadcast(value));
  }
}

// ---- Forward -----------------------------------------------------------------------------------

template <typename L>
struct Workspace {
  using scalar = typename L::scalar;
  int64_t stride, row;          // of the scores, of the sums
  scalar *p, *q;                // of a block; p is the scores at first
  scalar *top, *sum, *rescale;  // of the second text's tokens
  scalar *beta, *alpha;         // sums: of a block, of the second text's tokens
  int64_t bytes;

  Workspace(const SoftAlignShape& shape, int64_t length_a, int64_t length_b, void* memory) {
    const int64_t rows = lesser(kRows, length_a);
    stride = score_row(length_b);
    row = round_up(shape.dim, L::kWidth);
    Carver carver(memory);
    p = carver.take<scalar>(rows * stride);
    q = carver.take<scalar>(rows * stride);
    top = carver.take<scalar>(stride);
    sum = carver.take<scalar>(stride);
    rescale = carver.take<scalar>(stride);
    beta = carver.take<scalar>(rows * row);
    alpha = carver.take<scalar>(length_b * row);
    bytes = carver.used();
  }
};

// exp of a row of scores less its maximum, in place.
template <typename L>
LEXFORGE_INLINE void softmax_row(typename L::scalar* score, int64_t columns,
                                 typename L::scalar& top, typename L::scalar& sum) {
  constexpr int64_t W = L::kWidth;
  auto largest = L::load_any(score);
  for (int64_t j = W; j < columns; j += W) largest = L::max(largest, L::load_any(score + j));
  typename L::scalar lane[W];
  L::store_any(lane, largest);
  for (int64_t step = W / 2; step > 0; step /= 2) {
    for (int64_t l = 0; l < step; ++l)
      lane[l] = lane[l] < lane[l + step] ? lane[l + step] : lane[l];
  }
  top = lane[0];
  const auto shift = L::broadcast(top);
  auto total = L::zero();
  for (int64_t j = 0; j < columns; j += W) {
    const auto p = exponential<L>(L::sub(L::load_any(score + j), shift));
    total = L::add(total, p);
    L::store_any(score + j, p);
  }
  sum = L::sum(total);
}

// The block's part of the softmax over the first text: q = exp(score - top), where top and sum are
// of this block and those before it, whose q `rescale` brings to the new top.
template <typename L>
LEXFORGE_INLINE void softmax_columns(const Workspace<L>& work, int64_t rows, int64_t columns,
                                     bool first) {
  constexpr auto kLowest = -std::numeric_limits<typename L::scalar>::infinity();
  for (int64_t j = 0; j < columns; j += L::kWidth) {
    const auto before = first ? L::broadcast(kLowest) : L::load_any(work.top + j);
    auto top = before;
    for (int64_t r = 0; r < rows; ++r) top = L::max(top, L::load_any(work.p + r * work.stride + j));
    auto total = L::zero();
    if (!first) {
      const auto rescale = exponential<L>(L::sub(before, top));
      L::store_any(work.rescale + j, rescale);
      total = L::mul(L::load_any(work.sum + j), rescale);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const auto score = L::load_any(work.p + r * work.stride + j);
      const auto q = exponential<L>(L::sub(score, top));
      total = L::add(total, q);
      L::store_any(work.q + r * work.stride + j, q);
    }
    L::store_any(work.top + j, top);
    L::store_any(work.sum + j, total);
  }
}

// The rows of a text whose other text is empty.
template <typename scalar_t, typename stat_t>
void align_with_nothing(const AlignRows<scalar_t>& to, int64_t rows, int64_t dim, stat_t* stats,
                        int64_t tokens) {
  write_zeros(to, rows, dim);
  for (int64_t i = 0; i < rows; ++i) {
    stats[i] = -std::numeric_limits<stat_t>::infinity();
    stats[tokens + i] = 0;
  }
}

}  // namespace

template <typename scalar_t, typename stat_t>
int64_t soft_align_workspace(const SoftAlignShape& shape, int64_t longest_a, int64_t longest_b) {
  return Workspace<LanesFor<scalar_t>>(shape, longest_a, longest_b, nullptr).bytes;
}

template <typename scalar_t, typename stat_t>
void soft_align_pair(const SoftAlignParams<scalar_t, stat_t>& params, int64_t pair, void* memory) {
  using L = LanesFor<scalar_t>;
  const SoftAlignShape& shape = params.shape;
  const PackedSpan text_a = first_text(shape, pair), text_b = second_text(shape, pair);
  const int64_t dim = shape.dim, columns = text_b.length;
  const auto beta = from(params.beta, text_a.first), alpha = from(params.alpha, text_b.first);
  stat_t *stats_a = params.stats_a + text_a.first, *stats_b = params.stats_b + text_b.first;
  if (text_a.length == 0 || text_b.length == 0) {
    align_with_nothing(beta, text_a.length, dim, stats_a, shape.tokens_a);
    align_with_nothing(alpha, text_b.length, dim, stats_b, shape.tokens_b);
    return;
  }
  const auto f_a = from(params.f_a, text_a.first), f_b = from(params.f_b, text_b.first);
  const auto a = from(params.a, text_a.first), b = from(params.b, text_b.first);
  const Workspace<L> work(shape, text_a.length, columns, memory);

  for (int64_t i = 0; i < text_a.length; i += kRows) {
    const int64_t rows = lesser(kRows, text_a.length - i);
    const bool first = i == 0;
    fill_ends<L>(work.p, work.stride, rows, columns, -std::numeric_limits<stat_t>::infinity());
    score(from(f_a, i), rows, f_b, columns, shape.feature_dim, work.p, work.stride);
    softmax_columns(work, rows, columns, first);
    for (int64_t r = 0; r < rows; ++r) {
      softmax_row<L>(work.p + r * work.stride, columns, stats_a[i + r],
                     stats_a[shape.tokens_a + i + r]);
    }
    sum_rows<scalar_t>({work.p, work.stride, 1, b, columns, work.beta, work.row, false}, rows, dim);
    for (int64_t r = 0; r < rows; ++r) {
      write_row(beta.data + (i + r) * beta.stride, work.beta + r * work.row,
                1 / stats_a[shape.tokens_a + i + r], dim);
    }
    for (int64_t j = 0; j < columns && !first; ++j) {
      stat_t* sums = work.alpha + j * work.row;
      for (int64_t d = 0; d < work.row; ++d) sums[d] *= work.rescale[j];
    }
    sum_rows<scalar_t>({work.q, 1, work.stride, from(a, i), rows, work.alpha, work.row, !first},
                       columns, dim);
  }
  for (int64_t j = 0; j < columns; ++j) {
    stats_b[j] = work.top[j];
    stats_b[shape.tokens_b + j] = work.sum[j];
    write_row(alpha.data + j * alpha.stride, work.alpha + j * work.row, 1 / work.sum[j], dim);
  }
}

// ---- Backward ----------------------------------------------------------------------------------

namespace {

template <typename L>
struct BackwardWorkspace {
  using scalar = typename L::scalar;
  int64_t stride, row, feature_row;
  // Of a block: the scores become p, the products of a with the gradient of alpha become q, those
  // of the gradient of beta with b become E.
  scalar *p, *q, *errors;
  scalar *top, *inverse, *delta;  // of the second text's tokens; 1 / sum
  scalar* sums;                   // of a block
  scalar *grad_b, *grad_f_b;      // of the second text's tokens
  int64_t bytes;

  BackwardWorkspace(const SoftAlignShape& shape, int64_t length_a, int64_t length_b, void* memory) {
    const int64_t rows = lesser(kRows, length_a);
    stride = score_row(length_b);
    row = round_up(shape.dim, L::kWidth);
    feature_row = round_up(shape.feature_dim, L::kWidth);
    Carver carver(memory);
    p = carver.take<scalar>(rows * stride);
    q = carver.take<scalar>(rows * stride);
    errors = carver.take<scalar>(rows * stride);
    top = carver.take<scalar>(stride);
    inverse = carver.take<scalar>(stride);
    delta = carver.take<scalar>(stride);
    sums = carver.take<scalar>(rows * (row > feature_row ? row : feature_row));
    grad_b = carver.take<scalar>(length_b * row);
    grad_f_b = carver.take<scalar>(length_b * feature_row);
    bytes = carver.used();
  }
};

// p, q and E of one row.
template <typename L>
LEXFORGE_INLINE void error_row(const BackwardWorkspace<L>& work, int64_t r, int64_t columns,
                               typename L::scalar top, typename L::scalar inverse,
                               typename L::scalar delta) {
  const int64_t at = r * work.stride;
  const auto row_top = L::broadcast(top), row_inverse = L::broadcast(inverse);
  const auto row_delta = L::broadcast(delta);
  for (int64_t j = 0; j < columns; j += L::kWidth) {
    const auto score = L::load_any(work.p + at + j);
    const auto p = L::mul(exponential<L>(L::sub(score, row_top)), row_inverse);
    const auto q = L::mul(exponential<L>(L::sub(score, L::load_any(work.top + j))),
                          L::load_any(work.inverse + j));
    const auto of_p = L::sub(L::load_any(work.errors + at + j), row_delta);
    const auto of_q = L::sub(L::load_any(work.q + at + j), L::load_any(work.delta + j));
    L::store_any(work.errors + at + j, L::fma(p, of_p, L::mul(q, of_q)));
    L::store_any(work.p + at + j, p);
    L::store_any(work.q + at + j, q);
  }
}

}  // namespace

template <typename scalar_t, typename stat_t>
int64_t soft_align_backward_workspace(const SoftAlignShape& shape, int64_t longest_a,
                                      int64_t longest_b) {
  return BackwardWorkspace<LanesFor<scalar_t>>(shape, longest_a, longest_b, nullptr).bytes;
}

template <typename scalar_t, typename stat_t>
void soft_align_backward_pair(const SoftAlignBackwardParams<scalar_t, stat_t>& params, int64_t pair,
                              void* memory) {
  using L = LanesFor<scalar_t>;
  const SoftAlignShape& shape = params.shape;
  const PackedSpan text_a = first_text(shape, pair), text_b = second_text(shape, pair);
  const int64_t dim = shape.dim, feature_dim = shape.feature_dim, columns = text_b.length;
  const auto grad_f_a = from(params.grad_f_a, text_a.first);
  const auto grad_f_b = from(params.grad_f_b, text_b.first);
  const auto grad_a = from(params.grad_a, text_a.first);
  const auto grad_b = from(params.grad_b, text_b.first);
  if (text_a.length == 0 || text_b.length == 0) {
    write_zeros(grad_f_a, text_a.length, feature_dim);
    write_zeros(grad_a, text_a.length, dim);
    write_zeros(grad_f_b, text_b.length, feature_dim);
    write_zeros(grad_b, text_b.length, dim);
    return;
  }
  const auto f_a = from(params.f_a, text_a.first), f_b = from(params.f_b, text_b.first);
  const auto a = from(params.a, text_a.first), b = from(params.b, text_b.first);
  const auto beta = from(params.beta, text_a.first), alpha = from(params.alpha, text_b.first);
  const auto grad_beta = from(params.grad_beta, text_a.first);
  const auto grad_alpha = from(params.grad_alpha, text_b.first);
  const stat_t *stats_a = params.stats_a + text_a.first, *stats_b = params.stats_b + text_b.first;
  const BackwardWorkspace<L> work(shape, text_a.length, columns, memory);

  fill_ends<L>(work.top, work.stride, 1, columns, 0);
  fill_ends<L>(work.inverse, work.stride, 1, columns, 0);
  fill_ends<L>(work.delta, work.stride, 1, columns, 0);
  for (int64_t j = 0; j < columns; ++j) {
    work.top[j] = stats_b[j];
    work.inverse[j] = 1 / stats_b[shape.tokens_b + j];
    work.delta[j] =
        dot(grad_alpha.data + j * grad_alpha.stride, alpha.data + j * alpha.stride, dim);
  }
  for (int64_t i = 0; i < text_a.length; i += kRows) {
    const int64_t rows = lesser(kRows, text_a.length - i);
    const bool add = i > 0;
    const auto g = from(grad_beta, i);
    for (stat_t* scores : {work.p, work.q, work.errors}) {
      fill_ends<L>(scores, work.stride, rows, columns, 0);
    }
    score(from(f_a, i), rows, f_b, columns, feature_dim, work.p, work.stride);
    score(from(a, i), rows, grad_alpha, columns, dim, work.q, work.stride);
    score(g, rows, b, columns, dim, work.errors, work.stride);
    for (int64_t r = 0; r < rows; ++r) {
      error_row(work, r, columns, stats_a[i + r], 1 / stats_a[shape.tokens_a + i + r],
                dot(g.data + r * g.stride, beta.data + (i + r) * beta.stride, dim));
    }
    sum_rows<scalar_t>(
        {work.errors, work.stride, 1, f_b, columns, work.sums, work.feature_row, false}, rows,
        feature_dim);
    write_rows(from(grad_f_a, i), rows, work.sums, work.feature_row, feature_dim);
    sum_rows<scalar_t>({work.q, work.stride, 1, grad_alpha, columns, work.sums, work.row, false},
                       rows, dim);
    write_rows(from(grad_a, i), rows, work.sums, work.row, dim);
    sum_rows<scalar_t>(
        {work.errors, 1, work.stride, from(f_a, i), rows, work.grad_f_b, work.feature_row, add},
        columns, feature_dim);
    sum_rows<scalar_t>({work.p, 1, work.stride, g, rows, work.grad_b, work.row, add}, columns, dim);
  }
  write_rows(grad_f_b, columns, work.grad_f_b, work.feature_row, feature_dim);
  write_rows(grad_b, columns, work.grad_b, work.row, dim);
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                     \
  template int64_t soft_align_workspace<scalar_t, stat_t>(const SoftAlignShape&, int64_t,          \
                                                          int64_t);                                \
  template void soft_align_pair(const SoftAlignParams<scalar_t, stat_t>&, int64_t, void*);         \
  template int64_t soft_align_backward_workspace<scalar_t, stat_t>(const SoftAlignShape&, int64_t, \
                                                                   int64_t);                       \
  template void soft_align_backward_pair(const SoftAlignBackwardParams<scalar_t, stat_t>&,         \
                                         int64_t, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
