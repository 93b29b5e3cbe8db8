// The two-byte float: the upper half of a float32. As plain bits, so that no CUDA or torch header
// is needed where tensors hold it.
#pragma once

#include <cstdint>

namespace lexforge {

struct Bfloat16 {
  uint16_t bits;
};

}  // namespace lexforge
