// The body of scale_add_ on any device.
#pragma once

#include "common/binding.h"
#include "example/scale_add.h"

namespace lexforge {

template <typename Device>
void scale_add(Tensor& y, const Tensor& x, double a) {
  const Checks check("scale_add_", "y", y);
  check.tensor("y", y, ScalarType::Float, {Checks::kAny});
  check.like("y", y, "x", x);
  check.apart({{"y", y}}, {{"x", x}});
  const Device device(y);
  device.run(ScaleAddParams{
      .y = data<float>(y),
      .x = data<const float>(x),
      .a = static_cast<float>(a),
      .count = y.size(0),
  });
}

}  // namespace lexforge
