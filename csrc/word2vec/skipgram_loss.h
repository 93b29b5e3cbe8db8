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
// CUDA adds up long runs of one row in parts, whose sums it joins in order: also bit-identical from
// run to run.
// Slots with error 0 are left out, and so are examples of nothing else.
#pragma once

#include <cstdint>

#include "common/row_groups.h"

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

// CUDA. Groups are runs of equal rows among the occurrences sorted by row, stably
// (sort_by_row); runs of row `rows_v` or `rows_u` are what is left out.
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
  // Sorted occurrences: examples by center [B], slots by target [B L].
  const int32_t *sorted_center, *sorted_example;
  const int32_t *sorted_target, *sorted_slot;
  // Row r of the gradient at [r] (null), or at [run of the occurrence - 1] (compact).
  const int32_t *center_run, *target_run;
  scalar_t* grad_v;
  scalar_t* grad_u;
  scalar_t* partial;  // [run_partials(max(B, B L)), D] scratch
};

template <typename scalar_t>
void launch_skipgram_loss(const SkipgramLossParams<scalar_t>& params, int64_t batch, void* stream);
// Keys and values to sort: keys_v, example [B]; keys_u, slot [B L].
template <typename scalar_t>
void launch_skipgram_loss_keys(const SkipgramLossBackwardCudaParams<scalar_t>& params,
                               int32_t* keys_v, int32_t* example, int32_t* keys_u, int32_t* slot,
                               void* stream);
template <typename scalar_t>
void launch_skipgram_loss_backward(const SkipgramLossBackwardCudaParams<scalar_t>& params,
                                   void* stream);

// run[i] = number of runs of rows below `rows` that start at or before i, for sorted keys; needs
// flags [n]. A null storage asks for its size in bytes.
size_t skipgram_number_runs(void* storage, size_t bytes, const int32_t* keys, int64_t n,
                            int64_t rows, int32_t* flags, int32_t* run, void* stream);
// unique[run[i] - 1] = keys[i].
void skipgram_list_runs(const int32_t* keys, const int32_t* run, int64_t n, int64_t rows,
                        int64_t* unique, void* stream);
// The last run number, on the host: waits for the stream.
int64_t skipgram_count_runs(const int32_t* run, int64_t n, void* stream);

}  // namespace lexforge
