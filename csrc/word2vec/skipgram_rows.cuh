// Row arithmetic of the skip-gram minibatch kernels, a warp at a time: lane l holds the elements
// l, l + 32, ... of a row.
#pragma once

#include "common/run_parts.cuh"

namespace lexforge {

// Element d of the sum over a part's occurrences m of scale[m] * table[row[m]], which lane m knows.
// Lanes beyond `dim` get anything.
template <typename T>
__device__ __forceinline__ T sum_rows(const T* table, int64_t dim, int64_t d, int count,
                                      int32_t row, T scale) {
  const int64_t column = d < dim ? d : 0;
  T sum = 0;
#pragma unroll 2  // with more, registers spill around the callers' division
  for (int m = 0; m < count; ++m) {
    const int64_t of = __shfl_sync(kAllLanes, row, m);
    sum += __shfl_sync(kAllLanes, scale, m) * table[of * dim + column];
  }
  return sum;
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
