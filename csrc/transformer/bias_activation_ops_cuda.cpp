// CUDA binding of bias_activation.h.
#include <tuple>

#include "common/cuda_binding.h"
#include "transformer/bias_activation_binding.h"

namespace lexforge {
namespace {

Tensor bias_activation(const Tensor& x, const OptionalTensor& bias, int64_t activation) {
  check_bias_activation("bias_activation", x, bias, activation);
  const CudaCall call(x);
  const Tensor some_bias = bias_or_zeros(x, bias);
  Tensor out = torch::stable::empty_like(x);
  for_activation_types(x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    launch_bias_activation(bias_activation_params<scalar_t, stat_t>(x, some_bias, activation, out),
                           call.stream());
  });
  return out;
}

std::tuple<Tensor, Tensor> bias_activation_backward(const Tensor& grad_out, const Tensor& x,
                                                    const OptionalTensor& bias,
                                                    int64_t activation) {
  const char* op = "bias_activation_backward";
  check_bias_activation(op, x, bias, activation);
  check_bias_gradient(op, grad_out, x);
  const CudaCall call(x);
  const Tensor some_bias = bias_or_zeros(x, bias);
  const BiasActivationGradients grads(x, bias);
  for_activation_types(x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    launch_bias_activation_backward(bias_activation_backward_params<scalar_t, stat_t>(
                                        grad_out, x, some_bias, activation, grads),
                                    call.stream());
  });
  return {grads.x, grads.bias};
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("bias_activation", TORCH_BOX(&lexforge::bias_activation));
  m.impl("bias_activation_backward", TORCH_BOX(&lexforge::bias_activation_backward));
}
