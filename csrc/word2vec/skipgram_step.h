// One optimiser step of skip-gram on a minibatch, in place: forward, backward and update of the
// touched rows together. The contract of lexforge::skipgram_step_, skipgram_epoch_ and
// skipgram_sync_.
//
// The loss is that of skipgram_loss.h, summed over the examples of the batch. With g the gradient
// of a row (all gradients are taken before any row changes), lr the step's learning rate, t its
// number (1, 2, ...):
//
//   sgd        p -= lr g
//   adagrad    a += g g;  p -= lr g / (sqrt(a) + eps)                      Duchi et al. 2011
//   adam       m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g g             Kingma & Ba 2015
//              p -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)
//   lazy_adam  the same on touched rows; p -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)
//
// SGD and AdaGrad leave rows without a gradient alone, so updating the touched rows is exact.
// Dense Adam moves every row at every step: a row without a gradient goes on along its decaying
// first moment. `adam` is that dense Adam (torch.optim.Adam). A row carries the number of its last
// step, and its pending steps are applied when it is next read. In lazy_adam
// (torch.optim.SparseAdam) rows without a gradient, and their moments, stand still.
//
// Pending steps. With m, v the moments after the row's last step t0, s = sqrt(v), and j = t - t0,
// the steps t = t0 + 1 .. t0 + k without gradient change a parameter by
//
//   - m sum_j w_j / (s + e_j),   w_j = q_t (b1 / sqrt(b2))^j,  e_j = eps_t / sqrt(b2)^j,
//   q_t = lr_t sqrt(1 - b2^t) / (1 - b1^t),  eps_t = eps sqrt(1 - b2^t).
//
// With W = sum w_j, E the mean and D the variance of e_j under the weights w_j / W, this is
// W / (s + E) to a relative error of mean((e - E)^2 / ((s + e) (s + E))) <= D / s^2, because the
// first-order term of 1 / (s + e) around E has mean 0. One division thus replaces k of them
// wherever v >= 2^24 D: there the error is below the rounding of a float32. Rows with an element
// whose v is smaller (and m not 0) are taken step by step. Pending steps are at most kMaxPending:
// every kMaxPending steps all rows are brought up to date.
//
// Every row has one writer and sums run in batch order: results are bit-identical for any number of
// threads. CUDA sums long runs of one row in parts and joins these in order: results are
// bit-identical from run to run.
#pragma once

#include <cstdint>

#include "common/row_groups.h"

namespace lexforge {

enum class SkipgramOptimizer : int { kSgd, kAdagrad, kAdam, kLazyAdam };

constexpr int64_t kMaxPending = 256;

// Values of dense Adam's step and of its pending steps, for rows whose last step is k steps ago.
struct AdamStep {
  float step_size;                         // q_t, or lr_t sqrt(1 - b2^t) / (1 - b1^t) for lazy_adam
  float epsilon;                           // eps_t, or eps for lazy_adam
  float fresh1, fresh2;                    // 1 - b1, 1 - b2
  float decay1[kMaxPending + 2];           // b1^k
  float decay2[kMaxPending + 2];           // b2^k
  float pending_size[kMaxPending + 1];     // W of k pending steps
  float pending_epsilon[kMaxPending + 1];  // E
  float pending_limit[kMaxPending + 1];    // 2^24 D; infinite where the sums overflow
  float past_size[kMaxPending];            // q of the step i + 1 steps ago
  float past_epsilon[kMaxPending];         // eps_t of the step i + 1 steps ago
};

// One table and its optimiser state.
struct SkipgramTable {
  float* rows;     // [V, stride] row-major; stride a multiple of 16, rows at 64-byte boundaries
  float* moments;  // adam: [V, 2, stride], m then v; adagrad: [V, stride]; sgd: null
  int32_t* last;   // [V] the row's last step (adam), else null
  int64_t size;    // V
};

// A minibatch with its unmasked slots in one list, example after example.
struct SkipgramMinibatch {
  int64_t size;       // examples B
  int32_t* center;    // [B] rows of the in table
  int32_t* begin;     // [B + 1] example b has the slots [begin[b], begin[b + 1])
  int32_t* target;    // [n] rows of the out table
  int32_t* example;   // [n] the slot's example
  float* weight;      // [n] mask / sum of the example's mask
  float* label;       // [n]
  RowGroups centers;  // of the examples
  RowGroups targets;  // of the slots
};

struct SkipgramStepParams {
  SkipgramTable in, out;
  int64_t stride;
  SkipgramOptimizer optimizer;
  float lr, epsilon;     // sgd, adagrad
  int64_t step;          // t
  const AdamStep* adam;  // adam, lazy_adam
  SkipgramMinibatch batch;
  // Scratch between the phases.
  float* center_row;   // [B, stride] up-to-date centre rows
  float* center_grad;  // [B, stride] gradients of the examples' centre rows
  float* error;        // [n] d loss / d score
  float* loss;         // [B] loss of each example
};

#define LEXFORGE_DECLARE_SKIPGRAM_STEP(isa)                                                        \
  namespace isa {                                                                                  \
  /* The phases of a step, in this order; each over a range of examples or groups. */              \
  void skipgram_step_refresh(const SkipgramStepParams&, int64_t first_target_group, int64_t last); \
  void skipgram_step_examples(const SkipgramStepParams&, int64_t first_example, int64_t last);     \
  void skipgram_step_update_out(const SkipgramStepParams&, int64_t first_target_group,             \
                                int64_t last);                                                     \
  void skipgram_step_update_in(const SkipgramStepParams&, int64_t first_center_group,              \
                               int64_t last);                                                      \
  /* Brings rows and moments [first, last) of a table to step `step`; adam describes step + 1. */  \
  void skipgram_sync(const SkipgramTable&, int64_t stride, const AdamStep& adam, int64_t step,     \
                     int64_t first_row, int64_t last);                                             \
  }
LEXFORGE_DECLARE_SKIPGRAM_STEP(baseline)
LEXFORGE_DECLARE_SKIPGRAM_STEP(avx2)
LEXFORGE_DECLARE_SKIPGRAM_STEP(avx512)
#undef LEXFORGE_DECLARE_SKIPGRAM_STEP

// CUDA. Slots stay padded [B, L]; groups are runs of equal rows among sorted occurrences
// (skipgram_rows.cuh), and rows in.size and out.size stand for what is left out.
struct SkipgramStepCudaParams {
  SkipgramTable in, out;
  int64_t stride;
  SkipgramOptimizer optimizer;
  float lr, epsilon;
  int64_t step;
  AdamStep adam;          // adam, lazy_adam; a kernel's parameters may take 32 KB since CUDA 12.1
  const int32_t* center;  // [B]
  const int32_t* target;  // [B, L]
  const float* mask;      // [B, L]
  const float* label;     // [B, L]
  int64_t batch, length;
  const int32_t *sorted_center, *sorted_example;  // [B]
  const int32_t *sorted_target, *sorted_slot;     // [B L]
  float *center_row, *center_grad;                // [B, stride]
  float* error;                                   // [B, L]
  float* loss;                                    // [B]
  float* partial;                                 // [run_partials(max(B, B L)), stride]
};

// Keys and values to sort: keys_v, example [B]; keys_u, slot [B L].
void launch_skipgram_step_keys(const SkipgramStepCudaParams& params, int32_t* keys_v,
                               int32_t* example, int32_t* keys_u, int32_t* slot, void* stream);
void launch_skipgram_step(const SkipgramStepCudaParams& params, void* stream);
// Brings a table to step `step`; adam describes step + 1.
void launch_skipgram_sync(const SkipgramTable& table, int64_t stride, const AdamStep& adam,
                          int64_t step, void* stream);

}  // namespace lexforge
