// The body of add_layer_norm.h's ops on any device.
#pragma once

#include <cmath>
#include <tuple>

#include "common/binding.h"
#include "transformer/add_layer_norm.h"

namespace lexforge {

inline Dropout check_norm_arguments(const Checks& check, const Tensor& x,
                                    const OptionalTensor& residual, const OptionalTensor& x_bias,
                                    const Tensor& weight, const OptionalTensor& seed,
                                    double dropout_p) {
  check.tensor("x", x, x.scalar_type(), {Checks::kAny, Checks::kAny});
  const int64_t dim = x.size(1);
  check.that(dim >= 1, "H must be at least 1, got ", dim);
  check.like("x", x, "residual", residual);
  check.tensor("x_bias", x_bias, stat_type(x), {dim});
  check.tensor("weight", weight, stat_type(x), {dim});
  check.dropout(dropout_p, seed);
  return dropout_of(dropout_p > 0 ? data_or_null<const int64_t>(seed) : nullptr, dropout_p);
}

// With the sum, which is empty where it is not wanted, in front.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> norm_of_sum(
    const char* op, bool with_sum, const Tensor& x, const OptionalTensor& residual,
    const OptionalTensor& x_bias, const Tensor& weight, const Tensor& bias,
    const OptionalTensor& seed, double eps, double dropout_p) {
  const Checks check(op, "x", x);
  const Dropout dropout = check_norm_arguments(check, x, residual, x_bias, weight, seed, dropout_p);
  const int64_t rows = x.size(0), dim = x.size(1);
  check.tensor("bias", bias, stat_type(x), {dim});
  check.that(std::isfinite(eps) && eps >= 0, "eps must be finite and >= 0, got ", eps);
  const Device device(x);
  const Tensor sum = new_empty(x, {with_sum ? rows : 0, dim}), y = new_empty(x, {rows, dim});
  const Tensor mean = new_empty(x, {rows}, stat_type(x)), rstd = new_empty(mean, {rows});
  for_types<float, double, Bfloat16>(check.op, "x", x.scalar_type(), [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    device.run(AddLayerNormParams<scalar_t, stat_t>{
        .x = data<const scalar_t>(x),
        .residual = data_or_null<const scalar_t>(residual),
        .x_bias = data_or_null<const stat_t>(x_bias),
        .weight = data<const stat_t>(weight),
        .bias = data<const stat_t>(bias),
        .rows = rows,
        .dim = dim,
        .eps = eps,
        .dropout = dropout,
        .sum = with_sum ? data<scalar_t>(sum) : nullptr,
        .y = data<scalar_t>(y),
        .mean = data<stat_t>(mean),
        .rstd = data<stat_t>(rstd),
    });
  });
  return {sum, y, mean, rstd};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> add_layer_norm(const Tensor& x, const OptionalTensor& residual,
                                                  const OptionalTensor& x_bias,
                                                  const Tensor& weight, const Tensor& bias,
                                                  const OptionalTensor& seed, double eps,
                                                  double dropout_p) {
  const auto [sum, y, mean, rstd] = norm_of_sum<Device>("add_layer_norm", false, x, residual,
                                                        x_bias, weight, bias, seed, eps, dropout_p);
  return {y, mean, rstd};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> add_layer_norm_sum(
    const Tensor& x, const Tensor& residual, const OptionalTensor& x_bias, const Tensor& weight,
    const Tensor& bias, const OptionalTensor& seed, double eps, double dropout_p) {
  return norm_of_sum<Device>("add_layer_norm_sum", true, x, residual, x_bias, weight, bias, seed,
                             eps, dropout_p);
}

// What the two backwards are given.
struct NormGradients {
  OptionalTensor grad_sum;
  bool summed, with_residual, with_x_bias;
  bool with_x;  // not where it would be grad_residual
};

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> norm_gradients(
    const char* op, const NormGradients& given, const Tensor& grad_y, const Tensor& x,
    const OptionalTensor& residual, const OptionalTensor& x_bias, const Tensor& weight,
    const Tensor& mean, const Tensor& rstd, const OptionalTensor& seed, double dropout_p) {
  const Checks check(op, "x", x);
  const Dropout dropout = check_norm_arguments(check, x, residual, x_bias, weight, seed, dropout_p);
  const int64_t rows = x.size(0), dim = x.size(1);
  check.like("x", x, "grad_y", grad_y);
  check.like("x", x, "grad_sum", given.grad_sum);
  check.tensor("mean", mean, stat_type(x), {rows});
  check.tensor("rstd", rstd, stat_type(x), {rows});
  const Device device(x);
  // Empty where there is nothing that they are the gradient of.
  const Tensor grad_x = new_empty(x, {given.with_x ? rows : 0, dim});
  const Tensor grad_residual = new_empty(x, {given.with_residual ? rows : 0, dim});
  const Tensor grad_weight = new_empty(mean, {dim}), grad_bias = new_empty(mean, {dim});
  const Tensor grad_x_bias = new_empty(mean, {given.with_x_bias ? dim : 0});
  for_types<float, double, Bfloat16>(check.op, "x", x.scalar_type(), [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    const int64_t groups = Device::template groups<scalar_t>(rows, dim);
    const Tensor partial = new_empty(mean, {groups, 3, dim});
    device.run(AddLayerNormBackwardParams<scalar_t, stat_t>{
        .grad_y = data<const scalar_t>(grad_y),
        .grad_sum = data_or_null<const scalar_t>(given.grad_sum),
        .x = data<const scalar_t>(x),
        .residual = data_or_null<const scalar_t>(residual),
        .x_bias = data_or_null<const stat_t>(x_bias),
        .weight = data<const stat_t>(weight),
        .mean = data<const stat_t>(mean),
        .rstd = data<const stat_t>(rstd),
        .rows = rows,
        .dim = dim,
        .dropout = dropout,
        .summed = given.summed,
        .grad_x = given.with_x ? data<scalar_t>(grad_x) : nullptr,
        .grad_residual = given.with_residual ? data<scalar_t>(grad_residual) : nullptr,
        .partial = data<stat_t>(partial),
        .groups = groups,
        .grad_weight = data<stat_t>(grad_weight),
        .grad_bias = data<stat_t>(grad_bias),
        .grad_x_bias = given.with_x_bias ? data<stat_t>(grad_x_bias) : nullptr,
    });
  });
  return {grad_x, grad_residual, grad_weight, grad_bias, grad_x_bias};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> add_layer_norm_backward(
    const Tensor& grad_y, const Tensor& x, const OptionalTensor& residual,
    const OptionalTensor& x_bias, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
    const OptionalTensor& seed, double dropout_p) {
  return norm_gradients<Device>("add_layer_norm_backward",
                                {.grad_sum = {},
                                 .summed = false,
                                 .with_residual = residual.has_value(),
                                 .with_x_bias = x_bias.has_value(),
                                 .with_x = true},
                                grad_y, x, residual, x_bias, weight, mean, rstd, seed, dropout_p);
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> add_layer_norm_sum_backward(
    const OptionalTensor& grad_sum, const Tensor& grad_y, const Tensor& sum, bool with_x_bias,
    const Tensor& weight, const Tensor& mean, const Tensor& rstd, const OptionalTensor& seed,
    double dropout_p) {
  return norm_gradients<Device>("add_layer_norm_sum_backward",
                                {.grad_sum = grad_sum,
                                 .summed = true,
                                 .with_residual = true,
                                 .with_x_bias = with_x_bias,
                                 .with_x = dropout_p > 0},
                                grad_y, sum, {}, {}, weight, mean, rstd, seed, dropout_p);
}

}  // namespace lexforge
