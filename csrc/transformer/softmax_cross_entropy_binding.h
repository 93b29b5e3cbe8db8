// Checks and parameters that the CPU and the CUDA binding of softmax_cross_entropy_ share.
#pragma once

#include <optional>
#include <tuple>

#include "common/bfloat16.h"
#include "common/check.h"
#include "transformer/softmax_cross_entropy.h"

namespace lexforge {

using OptionalTensor = std::optional<Tensor>;

// Calls run(params) with the parameters of the logits' dtype; (loss, correct).
template <typename Run>
std::tuple<Tensor, Tensor> softmax_cross_entropy_with(const Tensor& logits,
                                                      const OptionalTensor& bias,
                                                      const Tensor& labels, const Tensor& scale,
                                                      bool gradient, const Run& run) {
  const char* op = "softmax_cross_entropy_";
  const ScalarType dtype = logits.scalar_type();
  STD_TORCH_CHECK(
      dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::BFloat16,
      op, ": logits must be float32, float64 or bfloat16");
  const ScalarType stat = dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  check_contiguous(logits, dtype, 2, op, "logits");
  check_contiguous(labels, ScalarType::Long, 1, op, "labels");
  check_contiguous(scale, stat, 1, op, "scale");
  const int64_t rows = logits.size(0), classes = logits.size(1);
  STD_TORCH_CHECK((classes >= 1 || rows == 0) && classes <= INT32_MAX && rows <= INT32_MAX, op,
                  ": logits must have a column, and fewer than 2^31 rows and columns");
  STD_TORCH_CHECK(labels.size(0) == rows && scale.size(0) == rows, op,
                  ": labels and scale must be [R]");
  check_devices(op, {{"logits", logits}, {"bias", bias}, {"labels", labels}, {"scale", scale}});
  if (bias.has_value()) {
    check_contiguous(*bias, stat, 1, op, "bias");
    STD_TORCH_CHECK(bias->size(0) == classes, op, ": bias must be [V]");
  }
  Tensor loss = torch::stable::new_empty(logits, {rows}, stat);
  Tensor correct = torch::stable::new_empty(labels, {rows});
  const auto call = [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    run(SoftmaxCrossEntropyParams<scalar_t, stat_t>{
        data<scalar_t>(logits), bias.has_value() ? data<const stat_t>(*bias) : nullptr,
        data<const int64_t>(labels), data<const stat_t>(scale), rows, classes, gradient,
        data<stat_t>(loss), data<int64_t>(correct)});
  };
  if (dtype == ScalarType::Float) {
    call(float{}, float{});
  } else if (dtype == ScalarType::Double) {
    call(double{}, double{});
  } else {
    call(Bfloat16{}, float{});
  }
  return {loss, correct};
}

}  // namespace lexforge
