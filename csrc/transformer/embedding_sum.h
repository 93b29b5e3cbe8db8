// The sum of a token's, its segment's and its position's embedding, with layer norm and dropout in
// the same pass: the contract of lexforge::embedding_sum and lexforge::embedding_sum_backward.
//
//   z[t]   = token_table[tokens[t]] + segment_table[segments[t]] + position_table[positions[t]]
//   y[t]   = z[t], or with a norm (Ba et al. 2016)
//            (z[t] - mean[t]) rstd[t] weight + bias,  rstd = 1 / sqrt(variance + eps)
//   out[t] = y[t], or with dropout y[t, h] scale where element t H + h is kept, else 0
//
// (common/dropout.h, stream kEmbedding.) Segments may be missing. Mean and variance are those of
// the row's H numbers (variance over H). Saved for the backward: mean and rstd; z is summed again.
// Backward, for the gradient g of out, d = g through the dropout, x = (z - mean) rstd:
//
//   dz = d, or with a norm  rstd (d weight - mean_h(d weight) - x mean_h(d weight x))
//   grad_weight = sum over t of d x            grad_bias = sum over t of d
//   gradient of a table's row = sum of dz[t] over the t with that id, zeros where there is none
//
// Tables, their gradients, weight and bias are float32 (or float64); out and its gradient are of
// the tables' dtype or, with float32, bfloat16. All arithmetic is in the tables' dtype.
//
// Sums have parts that depend on the problem alone, so they are bit-identical for any number of
// threads and from run to run. grad_weight and grad_bias add up groups of consecutive t, then the
// groups. A table's row adds up parts of its t in ascending order, then the parts: on the CPU every
// kEmbeddingPart of its t; on CUDA those among every kEmbeddingPart of all t sorted by id or, of
// segments and positions whose tables are short, those in ranges of consecutive t.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/bfloat16.h"
#include "common/dropout.h"

namespace lexforge {

constexpr int64_t kEmbeddingPart = 32;

// What forward and backward share.
template <typename stat_t>
struct EmbeddingRows {
  const int32_t* tokens;         // [T] the CPU kernels assume 0 <= id < the table's rows
  const int32_t* segments;       // [T], or null
  const int32_t* positions;      // [T]
  const stat_t* token_table;     // [V, H]
  const stat_t* segment_table;   // [S, H], or null
  const stat_t* position_table;  // [P, H]
  int64_t token_rows, segment_rows, position_rows;  // V, S, P
  int64_t count, width;                             // T, H
  const stat_t* weight;                             // [H], or null without a norm
  Dropout dropout;
};

// out_t is stat_t, or Bfloat16 with float.
template <typename out_t, typename stat_t>
struct EmbeddingSumParams {
  EmbeddingRows<stat_t> rows;
  const stat_t* bias;  // [H], or null without a norm
  double eps;
  out_t* out;    // [T, H]
  stat_t* mean;  // [T], unused without a norm
  stat_t* rstd;  // [T]
};

// From the gradient of out to that of z. Wanted with a norm or dropout alone.
template <typename out_t, typename stat_t>
struct EmbeddingSumBackwardParams {
  EmbeddingRows<stat_t> rows;
  const out_t* grad_out;  // [T, H]
  const stat_t* mean;     // [T]
  const stat_t* rstd;     // [T]
  stat_t* grad_sum;       // [T, H] dz
  int64_t group;          // t to a group
  stat_t* partial;        // [G, 2, H] each group's grad_weight and grad_bias; unused without a norm
};

// CPU. Sum j adds rows from[members[m]] for begin[j] <= m < begin[j + 1], in order, into
// to[target[j]], or partial[~target[j]] where target is negative.
template <typename from_t, typename stat_t>
struct EmbeddingGradSums {
  const from_t* from;  // [., H]
  const int32_t* members;
  const int32_t* begin;   // [sums + 1]
  const int32_t* target;  // [sums]
  int64_t width;
  stat_t* to;
  stat_t* partial;
};

// A range of t, of groups, of sums. The workspace is 64-byte aligned, one per thread.
#define LEXFORGE_DECLARE_EMBEDDING_SUM(isa)                                                 \
  namespace isa {                                                                           \
  template <typename stat_t>                                                                \
  int64_t embedding_workspace(int64_t width);                                               \
  template <typename out_t, typename stat_t>                                                \
  void embedding_sum(const EmbeddingSumParams<out_t, stat_t>&, int64_t first, int64_t last, \
                     void* workspace);                                                      \
  template <typename out_t, typename stat_t>                                                \
  void embedding_sum_backward(const EmbeddingSumBackwardParams<out_t, stat_t>&,             \
                              int64_t first_group, int64_t last, void* workspace);          \
  template <typename from_t, typename stat_t>                                               \
  void embedding_grad_sums(const EmbeddingGradSums<from_t, stat_t>&, int64_t first_sum,     \
                           int64_t last);                                                   \
  }
LEXFORGE_DECLARE_EMBEDDING_SUM(baseline)
LEXFORGE_DECLARE_EMBEDDING_SUM(avx2)
LEXFORGE_DECLARE_EMBEDDING_SUM(avx512)
#undef LEXFORGE_DECLARE_EMBEDDING_SUM

// CUDA. Where an id has no row, z is NaN; its table's gradient leaves that t out.
template <typename out_t, typename stat_t>
void launch_embedding_sum(const EmbeddingSumParams<out_t, stat_t>& params, void* stream);
template <typename out_t, typename stat_t>
void launch_embedding_sum_backward(const EmbeddingSumBackwardParams<out_t, stat_t>& params,
                                   void* stream);
// The last step of grad_weight and grad_bias.
template <typename stat_t>
void launch_embedding_group_sums(const stat_t* partial, int64_t groups, int64_t width,
                                 stat_t* weight, stat_t* bias, void* stream);

// The gradient of one table.
template <typename from_t, typename stat_t>
struct EmbeddingCudaSums {
  const from_t* from;        // [T, H]
  const int32_t* sorted_id;  // [T] ascending; `rows` stands for ids without a row
  const int32_t* sorted_t;   // [T] whose ids they are, ascending where ids are equal
  int64_t count, rows, width;
  stat_t* to;       // [rows, H] zeros where no id is
  stat_t* partial;  // [2 ceil(T / kEmbeddingPart), H] scratch
};
template <typename from_t, typename stat_t>
void launch_embedding_grad_sums(const EmbeddingCudaSums<from_t, stat_t>& sums, void* stream);

// The same for a table of at most kShortTable rows, without sorted ids: for every row a look at all
// ids, which costs less than a sort. A range has about 32 t for each row, so that the sums of
// ranges are an eighth of `from` or less, but there are not many more ranges than kShortRanges.
constexpr int64_t kShortTable = 512, kShortRanges = 256, kMaxShortRange = 4096;
inline int64_t short_range(int64_t count, int64_t rows) {
  const int64_t wanted = std::max({int64_t{64}, 32 * rows, count / kShortRanges});
  return std::min((wanted + 7) / 8 * 8, kMaxShortRange);  // an eighth for each warp of a block
}
template <typename from_t, typename stat_t>
struct EmbeddingShortSums {
  const from_t* from;  // [T, H]
  const int32_t* ids;  // [T]
  int64_t count, rows, width;
  int64_t range;    // short_range(T, rows)
  stat_t* to;       // [rows, H]
  stat_t* partial;  // [ceil(T / range), rows, H] scratch; unused where there is one range
};
template <typename from_t, typename stat_t>
void launch_embedding_short_sums(const EmbeddingShortSums<from_t, stat_t>& sums, void* stream);

}  // namespace lexforge
