// Causal blocks of GPT-2, one after another, in two passes over their rows: the contract of
// lexforge::causal_block_ and lexforge::causal_block_backward_. CPU only.
//
//   qkv = normed Wq^T + bq       attended = causal attention of its heads (attention.h)
//   total = x + z1 (attended Wp^T + bp)       inner = norm of total (add_layer_norm.h)
//   expanded = inner We^T        active = activation of expanded + be (bias_activation.h)
//   out = total + z2 (active Wc^T + bc)       normed_out = the norm that follows, of out
//
// z is what dropout multiplies by. This is lexforge/layers/causal_step.py op by op, and its kernels
// are those of the ops. What differs is the order: a thread takes some sequences through all of
// them, kCausalBlockRows rows at a time, so that what an op makes is still in the second-level
// cache when the next one reads it, and threads wait for each other once, at the end of the
// backward: sequences do not see one another, so that it goes on to its rows of the next block at
// once. With bfloat16 rows a weight is rounded to bfloat16 while it is packed. A CPU with AMX
// makes the products on its tiles (split_product.h: of three parts with float32 rows, of one with
// bfloat16 rows), every other one by multiply-adds of float32 (causal_block_cpu.h).
//
// Gradients of parameters are summed in order over the rows of a thread, and then over the threads:
// the same bits from run to run, and for one number of threads.
#pragma once

#include <cstdint>

namespace lexforge {

constexpr int64_t kCausalBlockRows = 64;

struct CausalBlockSizes {
  int64_t rows, width, inner, heads;  // T, H, F

  // What the forward saves, in the dtype of x: T rows each, of so many numbers.
  int64_t qkv() const { return 0; }
  int64_t attended() const { return qkv() + rows * 3 * width; }
  int64_t total() const { return attended() + rows * width; }
  int64_t normed_total() const { return total() + rows * width; }
  int64_t expanded() const { return normed_total() + rows * width; }
  int64_t saved() const { return expanded() + rows * inner; }

  // And in float32: lse [T, heads], then mean and rstd [T] of both norms.
  int64_t mean(int norm) const { return rows * (heads + 2 * norm); }
  int64_t rstd(int norm) const { return mean(norm) + rows; }
  int64_t statistics() const { return mean(2); }
};

// Where the gradients of the parameters lie, all in one float32 tensor; of a norm its weight's, its
// bias's and that of the linear layer before it. Those of biases that are not there are left over.
struct CausalBlockGradients {
  int64_t qkv, qkv_bias, projection, norm, norm_bias, projection_bias, expansion, expansion_bias,
      contraction, following, following_bias, contraction_bias, size;

  CausalBlockGradients(int64_t width, int64_t inner) {
    int64_t* const starts[] = {&qkv,         &qkv_bias,        &projection,     &norm,
                               &norm_bias,   &projection_bias, &expansion,      &expansion_bias,
                               &contraction, &following,       &following_bias, &contraction_bias};
    const int64_t sizes[] = {3 * width * width, 3 * width, width * width, width, width, width,
                             inner * width,     inner,     inner * width, width, width, width};
    size = 0;
    for (int i = 0; i < 12; ++i) {
      *starts[i] = size;
      size += sizes[i];
    }
  }
};

}  // namespace lexforge
