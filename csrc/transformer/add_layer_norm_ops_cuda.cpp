// CUDA binding of add_layer_norm.h.
#include <tuple>

#include "common/cuda_binding.h"
#include "transformer/add_layer_norm_binding.h"

namespace lexforge {
namespace {

std::tuple<Tensor, Tensor, Tensor> add_layer_norm(const Tensor& x, const OptionalTensor& residual,
                                                  const OptionalTensor& x_bias,
                                                  const Tensor& weight, const Tensor& bias,
                                                  const OptionalTensor& seed, double eps,
                                                  double dropout_p) {
  const char* op = "add_layer_norm";
  const Dropout dropout = check_norm_arguments(op, x, residual, x_bias, weight, seed, dropout_p);
  check_norm_vector(op, "bias", bias, x, x.size(1));
  check_norm_eps(op, eps);
  const CudaCall call(x);
  const AddLayerNormResult result(x);
  for_norm_types(op, x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    launch_add_layer_norm(add_layer_norm_params<scalar_t, stat_t>(x, residual, x_bias, weight, bias,
                                                                  eps, dropout, result),
                          call.stream());
  });
  return {result.y, result.mean, result.rstd};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> add_layer_norm_backward(
    const Tensor& grad_y, const Tensor& x, const OptionalTensor& residual,
    const OptionalTensor& x_bias, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
    const OptionalTensor& seed, double dropout_p) {
  const char* op = "add_layer_norm_backward";
  const Dropout dropout = check_norm_arguments(op, x, residual, x_bias, weight, seed, dropout_p);
  check_norm_saved(op, grad_y, x, mean, rstd);
  const CudaCall call(x);
  int64_t groups = 0;
  for_norm_types(op, x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    groups = add_layer_norm_groups<scalar_t>(x.size(0), x.size(1));
  });
  const AddLayerNormGradients grads(x, residual, x_bias, groups);
  for_norm_types(op, x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    launch_add_layer_norm_backward(
        add_layer_norm_backward_params<scalar_t, stat_t>(grad_y, x, residual, x_bias, weight, mean,
                                                         rstd, dropout, grads),
        call.stream());
  });
  return {grads.x, grads.residual, grads.weight, grads.bias, grads.x_bias};
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("add_layer_norm", TORCH_BOX(&lexforge::add_layer_norm));
  m.impl("add_layer_norm_backward", TORCH_BOX(&lexforge::add_layer_norm_backward));
}
