// What the CPU and the CUDA binding of bias_activation share: checks, and tensors to params.
#pragma once

#include <optional>

#include "common/check.h"
#include "transformer/bias_activation.h"

namespace lexforge {

using OptionalTensor = std::optional<Tensor>;

inline ScalarType bias_dtype(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline void check_bias_activation(const char* op, const Tensor& x, const OptionalTensor& bias,
                                  int64_t activation) {
  const ScalarType dtype = x.scalar_type();
  STD_TORCH_CHECK(
      dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::BFloat16,
      op, ": x must be float32, bfloat16 or float64");
  check_contiguous(x, dtype, 2, op, "x");
  if (bias.has_value()) {
    check_contiguous(*bias, bias_dtype(x), 1, op, "bias");
    STD_TORCH_CHECK(bias->size(0) == x.size(1), op, ": bias must be [", x.size(1), "], got [",
                    bias->size(0), "]");
  }
  check_devices(op, {{"x", x}, {"bias", bias}});
  STD_TORCH_CHECK(0 <= activation && activation <= static_cast<int64_t>(Activation::kTanh), op,
                  ": activation must be 0, 1 or 2, got ", activation);
}

inline void check_bias_gradient(const char* op, const Tensor& grad_out, const Tensor& x) {
  check_contiguous(grad_out, x.scalar_type(), 2, op, "grad_out");
  STD_TORCH_CHECK(grad_out.size(0) == x.size(0) && grad_out.size(1) == x.size(1), op,
                  ": grad_out must have the shape of x");
  check_devices(op, {{"x", x}, {"grad_out", grad_out}});
}

// The bias, or zeros.
inline Tensor bias_or_zeros(const Tensor& x, const OptionalTensor& bias) {
  return bias.has_value() ? *bias : torch::stable::new_zeros(x, {x.size(1)}, bias_dtype(x));
}

template <typename scalar_t, typename stat_t>
BiasActivationParams<scalar_t, stat_t> bias_activation_params(const Tensor& x, const Tensor& bias,
                                                              int64_t activation,
                                                              const Tensor& out) {
  return {
      .x = data<const scalar_t>(x),
      .bias = data<const stat_t>(bias),
      .rows = x.size(0),
      .width = x.size(1),
      .activation = static_cast<Activation>(activation),
      .out = data<scalar_t>(out),
  };
}

// `bias` is empty, and partial unused, without one.
struct BiasActivationGradients {
  Tensor x, bias, partial;

  BiasActivationGradients(const Tensor& like, const OptionalTensor& some_bias)
      : x(torch::stable::empty_like(like)),
        bias(torch::stable::new_empty(like, {some_bias.has_value() ? like.size(1) : 0},
                                      bias_dtype(like))),
        partial(torch::stable::new_empty(like, {bias_groups(like.size(0)), like.size(1)},
                                         bias_dtype(like))) {}
};

template <typename scalar_t, typename stat_t>
BiasActivationBackwardParams<scalar_t, stat_t> bias_activation_backward_params(
    const Tensor& grad_out, const Tensor& x, const Tensor& bias, int64_t activation,
    const BiasActivationGradients& grads) {
  return {
      .grad_out = data<const scalar_t>(grad_out),
      .x = data<const scalar_t>(x),
      .bias = data<const stat_t>(bias),
      .rows = x.size(0),
      .width = x.size(1),
      .activation = static_cast<Activation>(activation),
      .grad_x = data<scalar_t>(grads.x),
      .partial = data<stat_t>(grads.partial),
      .grad_bias = grads.bias.numel() > 0 ? data<stat_t>(grads.bias) : nullptr,
  };
}

// function(scalar_t, stat_t) for the dtype of x.
template <typename Function>
void for_activation_types(const Tensor& x, const Function& function) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return function(float{}, float{});
    case ScalarType::Double:
      return function(double{}, double{});
    default:
      return function(Bfloat16{}, float{});
  }
}

}  // namespace lexforge
