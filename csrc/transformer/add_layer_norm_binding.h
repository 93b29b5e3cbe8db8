// Checks, parameters and results that the CPU and the CUDA binding of add_layer_norm share.
#pragma once

#include <cmath>
#include <optional>

#include "common/check.h"
#include "transformer/add_layer_norm.h"

namespace lexforge {

using OptionalTensor = std::optional<Tensor>;

inline ScalarType add_layer_norm_stat_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline void check_norm_rows(const char* op, const char* name, const Tensor& rows, const Tensor& x) {
  check_contiguous(rows, x.scalar_type(), 2, op, name);
  STD_TORCH_CHECK(rows.size(0) == x.size(0) && rows.size(1) == x.size(1), op, ": ", name,
                  " must have the shape of x");
  check_devices(op, {{"x", x}, {name, rows}});
}

inline void check_norm_vector(const char* op, const char* name, const Tensor& vector,
                              const Tensor& x, int64_t size) {
  check_contiguous(vector, add_layer_norm_stat_type(x), 1, op, name);
  STD_TORCH_CHECK(vector.size(0) == size, op, ": ", name, " must be [", size, "], got [",
                  vector.size(0), "]");
  check_devices(op, {{"x", x}, {name, vector}});
}

inline Dropout check_norm_arguments(const char* op, const Tensor& x, const OptionalTensor& residual,
                                    const OptionalTensor& x_bias, const Tensor& weight,
                                    const OptionalTensor& seed, double dropout_p) {
  check_norm_rows(op, "x", x, x);
  const int64_t dim = x.size(1);
  STD_TORCH_CHECK(dim >= 1, op, ": H must be at least 1, got ", dim);
  if (residual.has_value()) check_norm_rows(op, "residual", *residual, x);
  if (x_bias.has_value()) check_norm_vector(op, "x_bias", *x_bias, x, dim);
  check_norm_vector(op, "weight", weight, x, dim);
  STD_TORCH_CHECK(0 <= dropout_p && dropout_p <= 1, op, ": dropout_p must be 0 to 1");
  if (dropout_p == 0) return dropout_of(nullptr, 0);
  STD_TORCH_CHECK(seed.has_value() && seed->scalar_type() == ScalarType::Long && seed->numel() == 1,
                  op, ": seed must be one int64");
  check_devices(op, {{"x", x}, {"seed", seed}});
  return dropout_of(data<const int64_t>(*seed), dropout_p);
}

inline void check_norm_eps(const char* op, double eps) {
  STD_TORCH_CHECK(std::isfinite(eps) && eps >= 0, op, ": eps must be at least 0 and finite");
}

inline void check_norm_saved(const char* op, const Tensor& grad_y, const Tensor& x,
                             const Tensor& mean, const Tensor& rstd) {
  check_norm_rows(op, "grad_y", grad_y, x);
  check_norm_vector(op, "mean", mean, x, x.size(0));
  check_norm_vector(op, "rstd", rstd, x, x.size(0));
}

template <typename T>
T* data_or_null(const OptionalTensor& tensor) {
  return tensor.has_value() ? data<T>(*tensor) : nullptr;
}

struct AddLayerNormResult {
  Tensor y, mean, rstd;

  explicit AddLayerNormResult(const Tensor& x)
      : y(torch::stable::new_empty(x, {x.size(0), x.size(1)})),
        mean(torch::stable::new_empty(x, {x.size(0)}, add_layer_norm_stat_type(x))),
        rstd(torch::stable::new_empty(x, {x.size(0)}, add_layer_norm_stat_type(x))) {}
};

struct AddLayerNormGradients {
  Tensor x, residual, weight, bias, x_bias;
  Tensor partial;

  AddLayerNormGradients(const Tensor& like, const OptionalTensor& residual_rows,
                        const OptionalTensor& x_bias_vector, int64_t groups)
      : x(torch::stable::new_empty(like, {like.size(0), like.size(1)})),
        residual(torch::stable::new_empty(
            like, {residual_rows.has_value() ? like.size(0) : 0, like.size(1)})),
        weight(torch::stable::new_empty(like, {like.size(1)}, add_layer_norm_stat_type(like))),
        bias(torch::stable::new_empty(like, {like.size(1)}, add_layer_norm_stat_type(like))),
        x_bias(torch::stable::new_empty(like, {x_bias_vector.has_value() ? like.size(1) : 0},
                                        add_layer_norm_stat_type(like))),
        partial(torch::stable::new_empty(like, {groups, 3, like.size(1)},
                                         add_layer_norm_stat_type(like))) {}
};

template <typename scalar_t, typename stat_t>
AddLayerNormParams<scalar_t, stat_t> add_layer_norm_params(const Tensor& x,
                                                           const OptionalTensor& residual,
                                                           const OptionalTensor& x_bias,
                                                           const Tensor& weight, const Tensor& bias,
                                                           double eps, const Dropout& dropout,
                                                           const AddLayerNormResult& result) {
  return {
      .x = data<const scalar_t>(x),
      .residual = data_or_null<const scalar_t>(residual),
      .x_bias = data_or_null<const stat_t>(x_bias),
      .weight = data<const stat_t>(weight),
      .bias = data<const stat_t>(bias),
      .rows = x.size(0),
      .dim = x.size(1),
      .eps = eps,
      .dropout = dropout,
      .y = data<scalar_t>(result.y),
      .mean = data<stat_t>(result.mean),
      .rstd = data<stat_t>(result.rstd),
  };
}

template <typename scalar_t, typename stat_t>
AddLayerNormBackwardParams<scalar_t, stat_t> add_layer_norm_backward_params(
    const Tensor& grad_y, const Tensor& x, const OptionalTensor& residual,
    const OptionalTensor& x_bias, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
    const Dropout& dropout, const AddLayerNormGradients& grads) {
  return {
      .grad_y = data<const scalar_t>(grad_y),
      .x = data<const scalar_t>(x),
      .residual = data_or_null<const scalar_t>(residual),
      .x_bias = data_or_null<const stat_t>(x_bias),
      .weight = data<const stat_t>(weight),
      .mean = data<const stat_t>(mean),
      .rstd = data<const stat_t>(rstd),
      .rows = x.size(0),
      .dim = x.size(1),
      .dropout = dropout,
      .grad_x = data<scalar_t>(grads.x),
      .grad_residual = residual.has_value() ? data<scalar_t>(grads.residual) : nullptr,
      .partial = data<stat_t>(grads.partial),
      .groups = grads.partial.size(0),
      .grad_weight = data<stat_t>(grads.weight),
      .grad_bias = data<stat_t>(grads.bias),
      .grad_x_bias = x_bias.has_value() ? data<stat_t>(grads.x_bias) : nullptr,
  };
}

// Calls `function` with a number of each of the types that x selects: function(scalar_t{},
// stat_t{}).
template <typename Function>
void for_norm_types(const char* op, const Tensor& x, const Function& function) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return function(float{}, float{});
    case ScalarType::Double:
      return function(double{}, double{});
    case ScalarType::BFloat16:
      return function(Bfloat16{}, float{});
    default:
      STD_TORCH_CHECK(false, op, ": x must be float32, float64 or bfloat16");
  }
}

}  // namespace lexforge
