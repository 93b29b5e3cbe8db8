// Softmax, cross-entropy and its gradient over rows of logits, in place: the contract of
// lexforge::softmax_cross_entropy_. One chunk of rows of a larger problem at a time
// (pyext/lexforge/ops/transformer/linear_cross_entropy.py).
//
//   for each row r with scale[r] != 0:
//     z          = logits[r] + bias
//     p          = exp(z - max z) / sum of exp(z - max z)
//     loss[r]    = scale[r] (log of that sum + (max z - z[label[r]]))
//     correct[r] = 1 if the first largest entry of z is label[r], else 0
//     logits[r]  = scale[r] (p - onehot(label[r]))        if the gradient is wanted
//   a row with scale 0 is not read; its loss, correct and gradient are 0.
//
// Without the gradient, the content of logits afterwards means nothing. Float32 (and all
// statistics of bfloat16): entries of p below e^-60 of the largest count as 0, since denormal
// numbers would slow down the products that follow. Rows are independent of each other.
#pragma once

#include <cstdint>

namespace lexforge {

template <typename scalar_t, typename stat_t>
struct SoftmaxCrossEntropyParams {
  scalar_t* logits;       // [R, V] row-major, V >= 1
  const stat_t* bias;     // [V], or null
  const int64_t* labels;  // [R], 0 <= label < V where scale is not 0
  const stat_t* scale;    // [R]
  int64_t rows, classes;  // R, V
  bool gradient;
  stat_t* loss;      // [R]
  int64_t* correct;  // [R]
};

// CPU. `workspace` is of V numbers if scalar_t is not stat_t, one per thread.
#define LEXFORGE_DECLARE_SOFTMAX_CROSS_ENTROPY(isa)                               \
  namespace isa {                                                                 \
  template <typename scalar_t, typename stat_t>                                   \
  void softmax_cross_entropy(const SoftmaxCrossEntropyParams<scalar_t, stat_t>&,  \
                             int64_t first_row, int64_t last, stat_t* workspace); \
  }
LEXFORGE_DECLARE_SOFTMAX_CROSS_ENTROPY(baseline)
LEXFORGE_DECLARE_SOFTMAX_CROSS_ENTROPY(avx2)
LEXFORGE_DECLARE_SOFTMAX_CROSS_ENTROPY(avx512)
#undef LEXFORGE_DECLARE_SOFTMAX_CROSS_ENTROPY

// CUDA. A label out of range makes its row's loss and gradient NaN.
template <typename scalar_t, typename stat_t>
void launch_softmax_cross_entropy(const SoftmaxCrossEntropyParams<scalar_t, stat_t>& params,
                                  void* stream);

}  // namespace lexforge
