// The body of dropout.h's op on any device.
#pragma once

#include "common/binding.h"
#include "transformer/dropout.h"

namespace lexforge {

template <typename Device>
Tensor dropout(const Tensor& x, const Tensor& seed, double dropout_p) {
  const Checks check("dropout", "x", x);
  check.that(x.is_contiguous(), "x must be contiguous");
  check.dropout(dropout_p, seed);
  const Dropout dropout = dropout_of(data<const int64_t>(seed), dropout_p);
  check.that(dropout.threshold > 0, "dropout_p must be at least 2^-17, got ", dropout_p);
  const Device device(x);
  const Tensor out = device.large(torch::stable::empty_like(x));
  for_types<float, double, Bfloat16>(check.op, "x", x.scalar_type(), [&]<typename scalar_t>() {
    device.run(
        DropoutParams<scalar_t>{data<const scalar_t>(x), data<scalar_t>(out), x.numel(), dropout});
  });
  return out;
}

}  // namespace lexforge
