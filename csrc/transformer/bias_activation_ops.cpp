// CPU binding of bias_activation.h.
#include <algorithm>
#include <tuple>

#include "common/cpu_capability.h"
#include "common/huge_pages.h"
#include "transformer/bias_activation_binding.h"
#include "transformer/group_sums.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 8192;

int64_t rows_per_task(int64_t width) {
  return std::max<int64_t>(1, kNumbersPerTask / std::max<int64_t>(1, width));
}

template <typename scalar_t, typename stat_t>
void forward(const BiasActivationParams<scalar_t, stat_t>& params) {
  auto* kernel =
      choose(&baseline::bias_activation<scalar_t, stat_t>, &avx2::bias_activation<scalar_t, stat_t>,
             &avx512::bias_activation<scalar_t, stat_t>);
  torch::stable::parallel_for(0, params.rows, rows_per_task(params.width),
                              [&](int64_t first, int64_t last) { kernel(params, first, last); });
}

Tensor bias_activation(const Tensor& x, const OptionalTensor& bias, int64_t activation) {
  check_bias_activation("bias_activation", x, bias, activation);
  const Tensor some_bias = bias_or_zeros(x, bias);
  Tensor out = on_huge_pages(torch::stable::empty_like(x));
  for_activation_types(x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    forward(bias_activation_params<scalar_t, stat_t>(x, some_bias, activation, out));
  });
  return out;
}

template <typename scalar_t, typename stat_t>
void backward(const BiasActivationBackwardParams<scalar_t, stat_t>& params) {
  auto* kernel = choose(&baseline::bias_activation_backward<scalar_t, stat_t>,
                        &avx2::bias_activation_backward<scalar_t, stat_t>,
                        &avx512::bias_activation_backward<scalar_t, stat_t>);
  const int64_t groups = bias_groups(params.rows);
  const int64_t groups_per_task = (rows_per_task(params.width) + kBiasGroup - 1) / kBiasGroup;
  torch::stable::parallel_for(0, groups, groups_per_task,
                              [&](int64_t first, int64_t last) { kernel(params, first, last); });
  if (params.grad_bias == nullptr) return;
  const int64_t columns_per_task =
      std::max<int64_t>(64, kNumbersPerTask / std::max<int64_t>(1, groups));
  torch::stable::parallel_for(0, params.width, columns_per_task, [&](int64_t first, int64_t last) {
    sum_groups(params.partial, groups, params.width, first, last, params.grad_bias);
  });
}

std::tuple<Tensor, Tensor> bias_activation_backward(const Tensor& grad_out, const Tensor& x,
                                                    const OptionalTensor& bias,
                                                    int64_t activation) {
  const char* op = "bias_activation_backward";
  check_bias_activation(op, x, bias, activation);
  check_bias_gradient(op, grad_out, x);
  const Tensor some_bias = bias_or_zeros(x, bias);
  BiasActivationGradients grads(x, bias);
  grads.x = on_huge_pages(grads.x);
  for_activation_types(x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    backward(bias_activation_backward_params<scalar_t, stat_t>(grad_out, x, some_bias, activation,
                                                               grads));
  });
  return {grads.x, grads.bias};
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("bias_activation", TORCH_BOX(&lexforge::bias_activation));
  m.impl("bias_activation_backward", TORCH_BOX(&lexforge::bias_activation_backward));
}
