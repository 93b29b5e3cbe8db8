// The body of softmax_cross_entropy_ on any device.
#pragma once

#include <tuple>

#include "common/binding.h"
#include "transformer/softmax_cross_entropy.h"

namespace lexforge {

// (loss, correct).
template <typename Device>
std::tuple<Tensor, Tensor> softmax_cross_entropy(const Tensor& logits, const OptionalTensor& bias,
                                                 const Tensor& labels, const Tensor& scale,
                                                 bool gradient) {
  const Checks check("softmax_cross_entropy_", "logits", logits);
  check.tensor("logits", logits, logits.scalar_type(), {Checks::kAny, Checks::kAny});
  const int64_t rows = logits.size(0), classes = logits.size(1);
  check.that((classes >= 1 || rows == 0) && classes <= INT32_MAX && rows <= INT32_MAX,
             "logits must have a column, and fewer than 2^31 rows and columns");
  check.tensor("labels", labels, ScalarType::Long, {rows});
  check.tensor("scale", scale, stat_type(logits), {rows});
  check.tensor("bias", bias, stat_type(logits), {classes});
  check.apart({{"logits", logits}}, {{"labels", labels}, {"scale", scale}});
  if (bias.has_value()) check.apart({{"logits", logits}}, {{"bias", *bias}});
  const Device device(logits);
  const Tensor loss = new_empty(scale, {rows}), correct = new_empty(labels, {rows});
  const ScalarType dtype = logits.scalar_type();
  for_types<float, double, Bfloat16>(check.op, "logits", dtype, [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    device.run(SoftmaxCrossEntropyParams<scalar_t, stat_t>{
        data<scalar_t>(logits), data_or_null<const stat_t>(bias), data<const int64_t>(labels),
        data<const stat_t>(scale), rows, classes, gradient, data<stat_t>(loss),
        data<int64_t>(correct)});
  });
  return {loss, correct};
}

}  // namespace lexforge
