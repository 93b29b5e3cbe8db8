// Lookups in a table and their sums, means and maxima over bags of ids: the contract of
// lexforge::embedding_bag, its two backward ops, and lexforge::embedding_renorm_.
//
// Bag b holds the ids i with offsets[b] <= i < offsets[b + 1], or, without offsets, row b of ids
// [B, L]. Ids at and after offsets[B] are in no bag. Ids equal to `padding` are left out of sums,
// means and maxima; a plain lookup is a bag of one id, which gives the padding row too, without a
// gradient.
//
//   lookup  out[b] = table[id]                 the one id of bag b
//   sum     out[b] = sum of w[i] table[id[i]]  w[i] = weights[i], or 1 without weights
//   mean    out[b] = scale[b] sum of table[id[i]],  scale[b] = 1 / how many; 0 of an empty bag
//   max     out[b, d] = table[id[i], d] for i = choice[b, d], the first i of the greatest; a NaN
//           stands only if it comes first, as in torch. Of an empty bag 0, and choice is -1
//
// Backward, for the gradient g [B, D] of out and i over the ids that are not padding:
//
//   grad_table[r] = f[r] sum over i with id[i] = r, in ascending order, of c[i] g[bag of i]
//     c[i] = w[i] in a sum, scale[bag of i] in a mean, and 1 in a lookup; in a maximum
//     c[i, d] = 1 where choice[bag of i, d] = i, else 0
//     f[r] = 1, or 1 / how many i there are, "by frequency"
//   grad_weights[i] = dot(g[bag of i], table[id[i]]), 0 of padding and outside bags
//
// Rows without an id are zeros. Every row is the sum of one writer. Runs of more than kBagPart
// (CUDA: kRunPart, common/run_parts.cuh) ids are cut into parts, whose sums are added in order: the
// bits depend on neither threads nor the run. Sums are float32 (float64 of float64); a bfloat16 row
// is rounded once.
//
// Renormalisation: each row that occurs among the ids, once, in place, if its norm is above
// max_norm: row *= max_norm / (norm + 1e-7), norm = (sum |x|^p)^(1/p), or the greatest |x| for
// p = infinity. Other rows are not written.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"
#include "common/host_device.h"

namespace lexforge {

enum class BagMode : int32_t { kLookup = 0, kSum = 1, kMean = 2, kMax = 3 };

// How many ids of a long run one thread adds up on the CPU.
constexpr int64_t kBagPart = 512;

constexpr double kRenormEpsilon = 1e-7;

struct Bags {
  const int32_t* ids;      // [N] the CPU kernels assume 0 <= id < V
  const int64_t* offsets;  // [B + 1] ascending from 0, at most N; or null
  int64_t length;          // ids of every bag, without offsets
  int64_t count;           // B
  int64_t ids_count;       // N
  int32_t padding;         // or -1

  // Where bag b begins, and bag b - 1 ends.
  LEXFORGE_HOST_DEVICE int64_t operator[](int64_t b) const {
    return offsets != nullptr ? offsets[b] : b * length;
  }
};

// scalar_t is float, double or Bfloat16; stat_t is double with double, else float.
template <typename scalar_t, typename stat_t>
struct EmbeddingBagParams {
  const scalar_t* table;  // [V, D] row-major, any D
  int64_t rows, dim;      // V, D
  Bags bags;
  BagMode mode;
  const stat_t* weights;  // [N], or null
  scalar_t* out;          // [B, D]
  int32_t* choice;        // [B, D] of a maximum
  stat_t* scale;          // [B] of a mean
};

template <typename scalar_t, typename stat_t>
struct EmbeddingBagWeightsParams {
  const scalar_t* grad_out;  // [B, D]
  const scalar_t* table;     // [V, D]
  int64_t rows, dim;
  Bags bags;
  stat_t* grad;  // [N], zeros: only ids in bags that are not padding are written
};

// What is summed by row.
template <typename from_t, typename stat_t>
struct BagGradient {
  const from_t* from;     // rows of D numbers: the gradient of out
  const int32_t* bag;     // [N] row of `from` of each i, or null where it is i
  const stat_t* weights;  // [N], or null
  const stat_t* scale;    // [B], or null
  const int32_t* choice;  // [B, D], or null
  int64_t dim;
};

// CPU. Sum j adds up members[m] for begin[j] <= m < begin[j + 1], in order, times factor[j], into
// to[target[j]], or without the factor into partial[~target[j]] where target is negative.
template <typename from_t, typename to_t, typename stat_t>
struct EmbeddingBagSums {
  BagGradient<from_t, stat_t> gradient;
  const int32_t* members;
  const int32_t* begin;   // [sums + 1]
  const int32_t* target;  // [sums]
  const stat_t* factor;   // [sums], or null for 1
  to_t* to;
  stat_t* partial;
};

template <typename scalar_t>
struct EmbeddingRenormParams {
  scalar_t* table;  // [V, D] in place
  int64_t dim;
  double max_norm, norm_type;  // both above 0
};

// Ranges of bags, of sums, of rows[]. The workspace is 64-byte aligned, one per thread.
#define LEXFORGE_DECLARE_EMBEDDING_BAG(isa)                                                        \
  namespace isa {                                                                                  \
  template <typename stat_t>                                                                       \
  int64_t embedding_bag_workspace(int64_t dim);                                                    \
  template <typename scalar_t, typename stat_t>                                                    \
  void embedding_bag(const EmbeddingBagParams<scalar_t, stat_t>&, int64_t first_bag, int64_t last, \
                     void* workspace);                                                             \
  template <typename scalar_t, typename stat_t>                                                    \
  void embedding_bag_weights(const EmbeddingBagWeightsParams<scalar_t, stat_t>&,                   \
                             int64_t first_bag, int64_t last);                                     \
  template <typename from_t, typename to_t, typename stat_t>                                       \
  void embedding_bag_sums(const EmbeddingBagSums<from_t, to_t, stat_t>&, int64_t first_sum,        \
                          int64_t last, void* workspace);                                          \
  template <typename scalar_t>                                                                     \
  void embedding_renorm(const EmbeddingRenormParams<scalar_t>&, const int32_t* rows,               \
                        int64_t first_row, int64_t last);                                          \
  }
LEXFORGE_DECLARE_EMBEDDING_BAG(baseline)
LEXFORGE_DECLARE_EMBEDDING_BAG(avx2)
LEXFORGE_DECLARE_EMBEDDING_BAG(avx512)
#undef LEXFORGE_DECLARE_EMBEDDING_BAG

// CUDA. An id without a row makes its bag NaN, and changes no gradient and no row. Offsets are taken as they come, cut to [0, N]: where they
// decrease, which ids a bag has is not said, but nothing else is read or written.
template <typename scalar_t, typename stat_t>
void launch_embedding_bag(const EmbeddingBagParams<scalar_t, stat_t>& params, void* stream);
template <typename scalar_t, typename stat_t>
void launch_embedding_bag_weights(const EmbeddingBagWeightsParams<scalar_t, stat_t>& params,
                                  void* stream);

// What the sort takes: keys[i] = ids[i], or `rows` where it has no part in the gradient,
// occurrence[i] = i; and bag[i], unless it is null.
void launch_embedding_bag_keys(const Bags& bags, int64_t rows, int32_t* keys, int32_t* occurrence,
                               int32_t* bag, void* stream);

template <typename scalar_t, typename stat_t>
struct EmbeddingBagCudaSums {
  BagGradient<scalar_t, stat_t> gradient;
  const int32_t* sorted_row;  // [N] ascending
  const int32_t* sorted_id;   // [N] the i of each, ascending where rows are equal
  int64_t count, rows;        // N, V
  bool by_frequency;
  scalar_t* to;     // [V, D] zeros before
  stat_t* partial;  // [run_partials(N), D] scratch
};
template <typename scalar_t, typename stat_t>
void launch_embedding_bag_sums(const EmbeddingBagCudaSums<scalar_t, stat_t>& sums, void* stream);

// Of the rows that occur among sorted_row [count], which ascends; `rows` and above stand for none.
template <typename scalar_t, typename stat_t>
void launch_embedding_renorm(const EmbeddingRenormParams<scalar_t>& params,
                             const int32_t* sorted_row, int64_t count, int64_t rows, void* stream);

}  // namespace lexforge
