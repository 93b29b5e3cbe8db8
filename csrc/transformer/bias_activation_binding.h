// The body of bias_activation.h's ops on any device.
#pragma once

#include <tuple>

#include "common/binding.h"
#include "transformer/bias_activation.h"

namespace lexforge {

inline void check_bias_activation(const Checks& check, const Tensor& x, const OptionalTensor& bias,
                                  int64_t activation) {
  check.tensor("x", x, x.scalar_type(), {Checks::kAny, Checks::kAny});
  check.tensor("bias", bias, stat_type(x), {x.size(1)});
  check.that(0 <= activation && activation <= static_cast<int64_t>(Activation::kGeluTanh),
             "activation must be 0 to 3, got ", activation);
}

inline Tensor bias_or_zeros(const Tensor& x, const OptionalTensor& bias) {
  return bias.has_value() ? *bias : new_zeros(x, {x.size(1)}, stat_type(x));
}

template <typename Device>
Tensor bias_activation(const Tensor& x, const OptionalTensor& bias, int64_t activation) {
  const Checks check("bias_activation", "x", x);
  check_bias_activation(check, x, bias, activation);
  const Device device(x);
  const Tensor some_bias = bias_or_zeros(x, bias);
  const Tensor out = device.large(torch::stable::empty_like(x));
  for_types<float, double, Bfloat16>(check.op, "x", x.scalar_type(), [&]<typename scalar_t>() {
    device.run(BiasActivationParams<scalar_t, Stat<scalar_t>>{
        .x = data<const scalar_t>(x),
        .bias = data<const Stat<scalar_t>>(some_bias),
        .rows = x.size(0),
        .width = x.size(1),
        .activation = static_cast<Activation>(activation),
        .out = data<scalar_t>(out),
    });
  });
  return out;
}

// (grad_x, grad_bias), the latter empty without a bias.
template <typename Device>
std::tuple<Tensor, Tensor> bias_activation_backward(const Tensor& grad_out, const Tensor& x,
                                                    const OptionalTensor& bias,
                                                    int64_t activation) {
  const Checks check("bias_activation_backward", "x", x);
  check_bias_activation(check, x, bias, activation);
  check.like("x", x, "grad_out", grad_out);
  const Device device(x);
  const int64_t rows = x.size(0), width = x.size(1);
  const Tensor some_bias = bias_or_zeros(x, bias);
  const Tensor grad_x = device.large(torch::stable::empty_like(x));
  const Tensor grad_bias = new_empty(some_bias, {bias.has_value() ? width : 0});
  const Tensor partial = new_empty(some_bias, {bias_groups(rows), width});
  for_types<float, double, Bfloat16>(check.op, "x", x.scalar_type(), [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    device.run(BiasActivationBackwardParams<scalar_t, stat_t>{
        .grad_out = data<const scalar_t>(grad_out),
        .x = data<const scalar_t>(x),
        .bias = data<const stat_t>(some_bias),
        .rows = rows,
        .width = width,
        .activation = static_cast<Activation>(activation),
        .grad_x = data<scalar_t>(grad_x),
        .partial = data<stat_t>(partial),
        .grad_bias = grad_bias.numel() > 0 ? data<stat_t>(grad_bias) : nullptr,
    });
  });
  return {grad_x, grad_bias};
}

}  // namespace lexforge
