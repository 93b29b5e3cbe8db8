// The gradient of a linear layer's parameters: the contract of lexforge::weight_gradient_. CPU
// only.
//
//   grad_weight[m, n] = sum over t of grad_out[t, m] x[t, n]      or += that, if add
//   grad_bias[m]      = sum over t of grad_out[t, m]              the same
//
// The library's products are made for sums that are short beside the result; here t runs over all
// tokens of a batch, and the result may be a small square. Both operands are read row by row, none
// is transposed, bfloat16 is summed in float32, and what is there already can be added to.
//
// t is summed in blocks of a fixed size, in order, by one thread: bit-identical for any number of
// threads.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"

namespace lexforge {

template <typename scalar_t, typename stat_t>
struct WeightGradientParams {
  const scalar_t* grad_out;  // [T, M], rows `grad_out_row` apart
  const scalar_t* x;         // [T, N], rows `x_row` apart
  int64_t grad_out_row, x_row;
  int64_t rows, outputs, inputs;  // T, M, N
  stat_t* grad_weight;            // [M, N]
  stat_t* grad_bias;              // [M], or null
  bool add;
};

// A part of the result: outputs [first_output, last_output) and inputs likewise. The part whose
// first_input is 0 makes the gradient of the bias too.
struct WeightGradientPart {
  int64_t first_output, last_output;  // at most kWeightGradientOutputs
  int64_t first_input, last_input;    // first_input is a multiple of kWeightGradientInputs
};
constexpr int64_t kWeightGradientOutputs = 96;
constexpr int64_t kWeightGradientInputs = 64;

// `workspace` is 64-byte aligned, one per thread.
#define LEXFORGE_DECLARE_WEIGHT_GRADIENT(isa)                                             \
  namespace isa {                                                                         \
  template <typename scalar_t, typename stat_t>                                           \
  int64_t weight_gradient_workspace();                                                    \
  template <typename scalar_t, typename stat_t>                                           \
  void weight_gradient(const WeightGradientParams<scalar_t, stat_t>&, WeightGradientPart, \
                       void* workspace);                                                  \
  }
LEXFORGE_DECLARE_WEIGHT_GRADIENT(baseline)
LEXFORGE_DECLARE_WEIGHT_GRADIENT(avx2)
LEXFORGE_DECLARE_WEIGHT_GRADIENT(avx512)
// Products of bfloat16 pairs (AVX512_BF16); exists for Bfloat16 alone.
LEXFORGE_DECLARE_WEIGHT_GRADIENT(avx512::bf16)
#undef LEXFORGE_DECLARE_WEIGHT_GRADIENT

}  // namespace lexforge
