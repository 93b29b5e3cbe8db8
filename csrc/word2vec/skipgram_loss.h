// The normalised skip-gram loss of a minibatch, and its gradient: the contract of
// lexforge::skipgram_loss and lexforge::skipgram_loss_backward.
//
// Embedding lookup, batched dot product and masked binary cross-entropy in one pass (Mikolov et al.
// 2013, "Distributed representations of words and phrases", eq. 4, with the mean over the entries
// of the mask as in the reference text); nothing of size B x L x D exists.
//
//   for each example b:  v = embed_v[center[b]];  w = sum over l of mask[b, l]
//     for each l with mask[b, l] != 0:
//       x = dot(v, embed_u[target[b, l]])
//       loss[b]    += mask[b, l] / w * (log(1 + exp(x)) - label[b, l] * x)
//       error[b, l] = mask[b, l] / w * (sigmoid(x) - label[b, l])         0 where mask is 0
//   a row with w = 0 has loss 0 and no gradient.
//
// Backward, for the gradient g [B] of the losses:
//   d embed_v[r] = sum over b with center[b] = r, then over l, of g[b] error[b, l] embed_u[target]
//   d embed_u[r] = sum over (b, l) with target[b, l] = r of g[b] error[b, l] embed_v[center[b]]
// Each row is summed by one writer in the order of (b, l): bit-identical for any number of threads.
// Slots with error 0 are left out, and so are examples of nothing else.
#pragma once

#include <cstdint>

#include "word2vec/skipgram_rows.h"

namespace lexforge {

template <typename scalar_t>
struct SkipgramLossParams {
  const scalar_t* embed_v;  // [Vv, D] row-major, any D
  const scalar_t* embed_u;  // [Vu, D]
  int64_t dim;              // D
  const int32_t* center;    // [B], 0 <= id < Vv
  const int32_t* target;    // [B, L], 0 <= id < Vu, also where the mask is 0
  const scalar_t* mask;     // [B, L], >= 0
  const scalar_t* label;    // [B, L], in [0, 1]
  int64_t length;           // L
  scalar_t* loss;           // [B]
  scalar_t* error;          // [B, L]
};

template <typename scalar_t>
struct SkipgramLossBackwardParams {
  const scalar_t* embed_v;
  const scalar_t* embed_u;
  int64_t dim;
  const int32_t* center;
  const int32_t* target;
  const scalar_t* error;
  const scalar_t* grad_loss;  // [B]
  int64_t length;
  RowGroups center_groups;  // of the examples b, by center
  RowGroups target_groups;  // of the slots b L + l with error != 0, by target
  // Gradients: row r of the table at [r] (dense), or group g's row at [g] (compact).
  scalar_t* grad_v;
  scalar_t* grad_u;
  bool compact;
};

#define LEXFORGE_DECLARE_SKIPGRAM_LOSS(isa)                                                     \
  namespace isa {                                                                               \
  template <typename scalar_t>                                                                  \
  void skipgram_loss(const SkipgramLossParams<scalar_t>&, int64_t first_example, int64_t last); \
  template <typename scalar_t>                                                                  \
  void skipgram_loss_grad_v(const SkipgramLossBackwardParams<scalar_t>&, int64_t first_group,   \
                            int64_t last);                                                      \
  template <typename scalar_t>                                                                  \
  void skipgram_loss_grad_u(const SkipgramLossBackwardParams<scalar_t>&, int64_t first_group,   \
                            int64_t last);                                                      \
  }
LEXFORGE_DECLARE_SKIPGRAM_LOSS(baseline)
LEXFORGE_DECLARE_SKIPGRAM_LOSS(avx2)
LEXFORGE_DECLARE_SKIPGRAM_LOSS(avx512)
#undef LEXFORGE_DECLARE_SKIPGRAM_LOSS

// CUDA. The groups are made on the device: `order` lists occurrences sorted by row, stably.
template <typename scalar_t>
struct SkipgramLossBackwardCudaParams {
  const scalar_t* embed_v;
  const scalar_t* embed_u;
  int64_t dim;
  const int32_t* center;
  const int32_t* target;
  const scalar_t* error;
  const scalar_t* grad_loss;
  int64_t batch, length;
  int64_t rows_v, rows_u;
  scalar_t* grad_v;  // [Vv, D], zeroed by the caller
  scalar_t* grad_u;  // [Vu, D], zeroed by the caller
  void* workspace;   // skipgram_loss_backward_workspace bytes
};

template <typename scalar_t>
void launch_skipgram_loss(const SkipgramLossParams<scalar_t>& params, int64_t batch, void* stream);
int64_t skipgram_loss_backward_workspace(int64_t batch, int64_t length, int64_t rows_v,
                                         int64_t rows_u);
template <typename scalar_t>
void launch_skipgram_loss_backward(const SkipgramLossBackwardCudaParams<scalar_t>& params,
                                   void* stream);

}  // namespace lexforge
