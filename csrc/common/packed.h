// Sequences that lie one after another in the rows of a tensor.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace lexforge {

// Rows of a sequence: first ... first + length - 1.
struct PackedSpan {
  int64_t first, length;
};

// Sequence i of the rows cu[i] to cu[i + 1]. The CPU bindings check what cu holds. It is not looked
// at on the host on CUDA: kernels there read it through this, which keeps any content inside the
// tensors.
LEXFORGE_HOST_DEVICE PackedSpan packed_span(const int32_t* cu, int64_t i, int64_t rows,
                                            int64_t max_length) {
  int64_t first = cu[i], last = cu[i + 1];
  first = first < 0 ? 0 : first > rows ? rows : first;
  last = last < first ? first : last > rows ? rows : last;
  const int64_t length = last - first;
  return {first, length > max_length ? max_length : length};
}

}  // namespace lexforge
