// The two-byte floats: the upper half of a float32, and IEEE's of five bits of exponent and ten of
// mantissa. As plain bits, so that no CUDA or torch header is needed where tensors hold them.
#pragma once

#include <cstdint>

namespace lexforge {

struct Bfloat16 {
  uint16_t bits;
};

struct Half {
  uint16_t bits;
};

// What one computes in with numbers that are stored as T.
template <typename T>
struct Computed {
  using type = T;
};
template <>
struct Computed<Bfloat16> {
  using type = float;
};
template <typename T>
using ComputedType = typename Computed<T>::type;

}  // namespace lexforge
