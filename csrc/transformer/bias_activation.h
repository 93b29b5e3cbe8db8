// An activation of x + bias: the contract of lexforge::bias_activation and
// lexforge::bias_activation_backward.
//
//   out[r, h] = f(x[r, h] + bias[h])        x: [R, H], bias: [H] or none
//
//   gelu  f(z) = z Phi(z), Phi(z) = erfc(-z / sqrt 2) / 2 (Hendrycks and Gimpel 2016); its limits
//         at infinity, 0 and infinity; in float32 and bfloat16 by a polynomial (gelu.h)
//   relu  f(z) = max(z, 0)
//   tanh  f(z) = tanh(z)
//   gelu_tanh  f(z) = z S(2 u), u = sqrt(2 / pi) (z + 0.044715 z^3), S(v) = 1 / (1 + exp(-v)):
//         z (1 + tanh u) / 2, the approximation of gelu by GPT-2; its limits at infinity
//
// NaN stays NaN. Backward, for the gradient g of out, from x and bias again (nothing else is
// saved), with z as above:
//
//   grad_x[r, h]  = f'(z) g[r, h]           relu: g where z > 0, else 0
//   grad_bias[h]  = sum over r of f'(z) g[r, h]
//
// grad_bias adds up the rows of each group of kBiasGroup, then the groups, in an order that depends
// on the shape alone: bit-identical for any number of threads and from run to run. With bfloat16,
// x, out, g and grad_x are bfloat16; the bias, its gradient and all arithmetic are float32.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"

namespace lexforge {

enum class Activation : int64_t { kGelu = 0, kRelu = 1, kTanh = 2, kGeluTanh = 3 };

constexpr int64_t kBiasGroup = 64;

// scalar_t is float, double or Bfloat16; stat_t float, or double for double. No result may be an
// argument.
template <typename scalar_t, typename stat_t>
struct BiasActivationParams {
  const scalar_t* x;    // [R, H]
  const stat_t* bias;   // [H], zeros if none
  int64_t rows, width;  // R, H
  Activation activation;
  scalar_t* out;  // [R, H]
};

template <typename scalar_t, typename stat_t>
struct BiasActivationBackwardParams {
  const scalar_t* grad_out;  // [R, H]
  const scalar_t* x;         // [R, H]
  const stat_t* bias;        // [H]
  int64_t rows, width;
  Activation activation;
  scalar_t* grad_x;         // [R, H]
  stat_t* partial;          // [G, H] of the groups of kBiasGroup rows
  stat_t* grad_bias;        // [H], or null: not wanted
  scalar_t* out = nullptr;  // [R, H], the activations once more, or null. CPU only
};

inline int64_t bias_groups(int64_t rows) { return (rows + kBiasGroup - 1) / kBiasGroup; }

// CPU: a range of rows, or of groups. grad_bias is the binding's (group_sums.h).
#define LEXFORGE_DECLARE_BIAS_ACTIVATION(isa)                                            \
  namespace isa {                                                                        \
  template <typename scalar_t, typename stat_t>                                          \
  void bias_activation(const BiasActivationParams<scalar_t, stat_t>&, int64_t first_row, \
                       int64_t last);                                                    \
  template <typename scalar_t, typename stat_t>                                          \
  void bias_activation_backward(const BiasActivationBackwardParams<scalar_t, stat_t>&,   \
                                int64_t first_group, int64_t last);                      \
  }
LEXFORGE_DECLARE_BIAS_ACTIVATION(baseline)
LEXFORGE_DECLARE_BIAS_ACTIVATION(avx2)
LEXFORGE_DECLARE_BIAS_ACTIVATION(avx512)
#undef LEXFORGE_DECLARE_BIAS_ACTIVATION

// CUDA.
template <typename scalar_t, typename stat_t>
void launch_bias_activation(const BiasActivationParams<scalar_t, stat_t>& params, void* stream);
template <typename scalar_t, typename stat_t>
void launch_bias_activation_backward(const BiasActivationBackwardParams<scalar_t, stat_t>& params,
                                     void* stream);

}  // namespace lexforge
