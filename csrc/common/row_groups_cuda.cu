#include <algorithm>

#include "common/cub.cuh"
#include "common/cuda_launch.cuh"
#include "common/row_groups.h"

namespace lexforge {
namespace {

int bits_of(int64_t largest) {
  int bits = 1;
  while ((largest >> bits) != 0) ++bits;
  return bits;
}

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    row_keys_kernel(const int32_t* ids, int64_t n, int64_t rows, int32_t* keys,
                    int32_t* occurrence) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= n) return;
  keys[i] = static_cast<uint32_t>(ids[i]) < rows ? ids[i] : static_cast<int32_t>(rows);
  occurrence[i] = static_cast<int32_t>(i);
}

}  // namespace

void launch_row_keys(const int32_t* ids, int64_t n, int64_t rows, int32_t* keys,
                     int32_t* occurrence, void* stream) {
  if (n == 0) return;
  launch(row_keys_kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), ids, n, rows, keys, occurrence);
}

size_t sort_by_row(void* storage, size_t bytes, const int32_t* keys_in, int32_t* keys_out,
                   const int32_t* values_in, int32_t* values_out, int64_t n, int64_t rows,
                   void* stream) {
  check_cuda(cub::DeviceRadixSort::SortPairs(storage, bytes, keys_in, keys_out, values_in,
                                             values_out, static_cast<int>(n), 0, bits_of(rows),
                                             static_cast<cudaStream_t>(stream)),
             "sort by row");
  return std::max(bytes, size_t{1});  // to CUB, no storage is the question for its size
}

}  // namespace lexforge
