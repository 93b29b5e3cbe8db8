// Row arithmetic of the skip-gram minibatch kernels, a warp at a time: lane l holds the elements
// l, l + 32, ... of a row.
#pragma once

#include "common/warp.cuh"

namespace lexforge {

constexpr int kRowWarps = 4;  // warps of a block; each works on its own

__device__ __forceinline__ int64_t global_warp() {
  return int64_t{blockIdx.x} * kRowWarps + threadIdx.x / kWarp;
}

// The number of occurrences in the run that starts at i among sorted keys; 0 when none starts there
// or its row is not below `rows`.
__device__ __forceinline__ int64_t run_at(const int32_t* keys, int64_t n, int64_t rows, int64_t i) {
  if (i >= n || keys[i] >= rows || (i > 0 && keys[i - 1] == keys[i])) return 0;
  int64_t last = i + 1;
  while (last < n && keys[last] == keys[i]) ++last;
  return last - i;
}

// The binary cross-entropy of a score and its derivative.
template <typename T>
__device__ __forceinline__ T cross_entropy(T x, T label, T& derivative) {
  const T e = exp(-fabs(x));
  const T sigmoid = (x < 0 ? e : T(1)) / (T(1) + e);
  derivative = sigmoid - label;
  return (x > 0 ? x : T(0)) - label * x + log1p(e);
}

}  // namespace lexforge
