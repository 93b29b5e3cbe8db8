// Residual, dropout and layer norm in one pass: the contract of lexforge::add_layer_norm,
// lexforge::add_layer_norm_sum and their backwards (Ba et al. 2016, eq. 4; the post-norm sublayer
// of Vaswani et al. 2017, section 5.4, and with the sum the pre-norm one of GPT-2). For each row n
// of x [N, H]:
//
//   h_i = residual_i + z_i (x_i + x_bias_i)      residual and x_bias are 0 where not given
//   mean = sum_i h_i / H
//   rstd = 1 / sqrt(sum_i (h_i - mean)^2 / H + eps)
//   y_i = (h_i - mean) rstd weight_i + bias_i
//
// z_i is 1 without dropout, else 0 or 1 / (1 - p): common/dropout.h with the stream kAddNorm, the
// index being n H + i. What is dropped may hold anything.
//
// Backward, for the gradient g of y, with t_i = (h_i - mean) rstd:
//
//   a = sum_i g_i weight_i / H        b = sum_i g_i weight_i t_i / H
//   grad_residual_i = rstd (g_i weight_i - a - t_i b)     grad_x_i = z_i grad_residual_i
//   grad_weight_i = sum_n g_i t_i     grad_bias_i = sum_n g_i     grad_x_bias_i = sum_n grad_x_i
//
// Saved for the backward: mean, rstd, and x and residual, which are there already; h and z are made
// again. Saving h in place of x would take the same memory and move the same 8 N H elements,
// forward and backward together, but write 4 N H of them instead of 3 N H, which a CPU reads before
// it writes; and h would be rounded in bfloat16. y does not do: h cannot be had from it where a
// weight is 0.
//
// add_layer_norm_sum also returns h, the residual stream, and normalises it as it is stored:
// rounded in bfloat16. Its backward has h, where the other has x and residual, and for the gradient
// k of h
//
//   grad_residual_i = k_i + rstd (g_i weight_i - a - t_i b)      the rest is as above
//
// float32 computes in float32, float64 in float64 (for gradient checks). bfloat16 computes in
// float32 and rounds only what is stored in bfloat16.
//
// A row has one writer. Sums over rows are made in groups of consecutive rows, in order, and the
// groups are added in order; how many there are depends on the problem alone: bit-identical for any
// number of threads and from run to run.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"
#include "common/dropout.h"

namespace lexforge {

// scalar_t is float, double or Bfloat16; stat_t float, or double for double. All tensors are
// contiguous.
template <typename scalar_t, typename stat_t>
struct AddLayerNormParams {
  const scalar_t* x;         // [N, H]
  const scalar_t* residual;  // [N, H] or null
  const stat_t* x_bias;      // [H] or null
  const stat_t* weight;      // [H]
  const stat_t* bias;        // [H]
  int64_t rows, dim;         // N >= 0, H >= 1
  double eps;                // >= 0
  Dropout dropout;
  scalar_t* sum;  // [N, H], h, or null: not wanted
  scalar_t* y;    // [N, H]
  stat_t* mean;   // [N]
  stat_t* rstd;   // [N]

  static constexpr bool summed = false;
};

template <typename scalar_t, typename stat_t>
struct AddLayerNormBackwardParams {
  const scalar_t* grad_y;    // [N, H]
  const scalar_t* grad_sum;  // [N, H] or null, k
  const scalar_t* x;         // [N, H]
  const scalar_t* residual;  // [N, H] or null
  const stat_t* x_bias;      // [H] or null
  const stat_t* weight;      // [H]
  const stat_t* mean;        // [N]
  const stat_t* rstd;        // [N]
  int64_t rows, dim;
  Dropout dropout;
  bool summed;              // x holds h; residual and x_bias are null
  scalar_t* grad_x;         // [N, H], or null where it is grad_residual
  scalar_t* grad_residual;  // [N, H], or null: not wanted
  // [groups, 3, H] sums over the rows of each group: of grad_weight, grad_bias and grad_x_bias. The
  // last one is made where x_bias is given.
  stat_t* partial;
  int64_t groups;
  stat_t* grad_weight;  // [H]
  stat_t* grad_bias;    // [H]
  stat_t* grad_x_bias;  // [H] or null
};

// The rows of one of the groups: consecutive ones, as many in each as in any other, or one more.
struct RowRange {
  int64_t first, last;
};
LEXFORGE_HOST_DEVICE RowRange add_layer_norm_group(int64_t group, int64_t groups, int64_t rows) {
  return {group * rows / groups, (group + 1) * rows / groups};
}

// The CPU kernels: rows, kAddLayerNormRows at a time; all of the gradients but the sums of the
// groups; the same of any rows, whose sums are added to `sums` [3, H]; and the sums of the groups for
// some columns. `workspace` is 64-byte aligned, of add_layer_norm_workspace(H) bytes, one per thread.
constexpr int64_t kAddLayerNormRows = 4;

#define LEXFORGE_DECLARE_ADD_LAYER_NORM(isa)                                                       \
  namespace isa {                                                                                  \
  template <typename stat_t>                                                                       \
  int64_t add_layer_norm_workspace(int64_t dim);                                                   \
  template <typename scalar_t, typename stat_t>                                                    \
  void add_layer_norm(const AddLayerNormParams<scalar_t, stat_t>&, int64_t first_row,              \
                      int64_t last, void* workspace);                                              \
  template <typename scalar_t, typename stat_t>                                                    \
  void add_layer_norm_backward(const AddLayerNormBackwardParams<scalar_t, stat_t>&,                \
                               int64_t first_group, int64_t last, void* workspace);                \
  template <typename scalar_t, typename stat_t>                                                    \
  void add_layer_norm_backward_rows(const AddLayerNormBackwardParams<scalar_t, stat_t>&, RowRange, \
                                    stat_t* sums, void* workspace);                                \
  template <typename scalar_t, typename stat_t>                                                    \
  void add_layer_norm_join(const AddLayerNormBackwardParams<scalar_t, stat_t>&,                    \
                           int64_t first_column, int64_t last);                                    \
  }
LEXFORGE_DECLARE_ADD_LAYER_NORM(baseline)
LEXFORGE_DECLARE_ADD_LAYER_NORM(avx2)
LEXFORGE_DECLARE_ADD_LAYER_NORM(avx512)
#undef LEXFORGE_DECLARE_ADD_LAYER_NORM

// CUDA. The number of groups of the backward depends on the arguments alone: at most 792 where H <=
// 256 or 768 < H <= 1024, else 396, or 264 (float32 from H 2056, both from 3080). So `partial` has
// at most 15 MB, and 12 groups H bytes in general.
template <typename scalar_t>
int64_t add_layer_norm_groups(int64_t rows, int64_t dim);
template <typename scalar_t, typename stat_t>
void launch_add_layer_norm(const AddLayerNormParams<scalar_t, stat_t>& params, void* stream);
template <typename scalar_t, typename stat_t>
void launch_add_layer_norm_backward(const AddLayerNormBackwardParams<scalar_t, stat_t>& params,
                                    void* stream);

}  // namespace lexforge
