// The GloVe loss of chosen entries of a co-occurrence matrix, and its gradient: the contract of
// lexforge::glove_loss and lexforge::glove_loss_backward.
//
// Pennington et al. 2014, "GloVe: global vectors for word representation", eq. 8, term by term;
// nothing of size N x D exists.
//
//   for each entry n = (i, j) with count x > 0:
//     h(x)     = min(1, (x / x_max) ^ alpha)
//     e        = dot(word[i], context[j]) + word_bias[i] + context_bias[j] - log x
//     loss[n]  = h(x) e^2          twice the cost of glove_train.h
//     slope[n] = 2 h(x) e          its derivative by the score
//
// Backward, for the gradient g [N] of the losses:
//   d word[r]      = sum over n with rows[n] = r of g[n] slope[n] context[cols[n]]
//   d word_bias[r] = sum over the same of g[n] slope[n]
//   and so, with rows and columns exchanged, for the contexts. Rows without entries get 0.
// A row's entries are added in the order of n: by one writer on the CPU; on CUDA by one writer for
// each kGloveLossChunk of the entries sorted by row, and the parts again in order. Bit-identical
// from run to run and for any number of threads.
#pragma once

#include <cstdint>

#include "common/row_groups.h"

namespace lexforge {

template <typename scalar_t>
struct GloveLossParams {
  const scalar_t* word;          // [V, D] row-major, any D
  const scalar_t* context;       // [V, D]
  const scalar_t* word_bias;     // [V]
  const scalar_t* context_bias;  // [V]
  int64_t vocab_size, dim;       // V, D
  const int32_t* rows;           // [N] the CPU kernel assumes 0 <= id < V
  const int32_t* cols;           // [N]
  const scalar_t* counts;        // [N] > 0; the loss of others is not finite
  int64_t entries;               // N
  double x_max, alpha;
  scalar_t* loss;   // [N]
  scalar_t* slope;  // [N]
};

// The gradient of one table and its biases. The two sides differ in nothing but their arguments.
template <typename scalar_t>
struct GloveLossSide {
  const scalar_t* other;      // [V, D] the other table
  const int32_t* other_row;   // [N] its row in each entry
  const scalar_t* slope;      // [N]
  const scalar_t* grad_loss;  // [N]
  int64_t dim;
  scalar_t* grad;       // [V, D] zeros where no entry is
  scalar_t* grad_bias;  // [V]    the same
};

#define LEXFORGE_DECLARE_GLOVE_LOSS(isa)                                                \
  namespace isa {                                                                       \
  template <typename scalar_t>                                                          \
  void glove_loss(const GloveLossParams<scalar_t>&, int64_t first_entry, int64_t last); \
  template <typename scalar_t>                                                          \
  void glove_loss_grad(const GloveLossSide<scalar_t>&, const RowGroups& groups,         \
                       int64_t first_group, int64_t last);                              \
  }
LEXFORGE_DECLARE_GLOVE_LOSS(baseline)
LEXFORGE_DECLARE_GLOVE_LOSS(avx2)
LEXFORGE_DECLARE_GLOVE_LOSS(avx512)
#undef LEXFORGE_DECLARE_GLOVE_LOSS

// CUDA. An entry with a row out of range reads nothing and gets the loss NaN.
template <typename scalar_t>
void launch_glove_loss(const GloveLossParams<scalar_t>& params, void* stream);

// Entries of the sorted list that one warp adds up.
constexpr int64_t kGloveLossChunk = 64;

template <typename scalar_t>
struct GloveLossCudaSide {
  GloveLossSide<scalar_t> side;
  int64_t entries, vocab_size;
  const int32_t* sorted_row;    // [N]
  const int32_t* sorted_entry;  // [N]
  scalar_t* partial;            // [2 ceil(N / chunk), D + 1] scratch
};
template <typename scalar_t>
void launch_glove_loss_grad(const GloveLossCudaSide<scalar_t>& params, void* stream);

}  // namespace lexforge
