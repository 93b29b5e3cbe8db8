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

}  // namespace

size_t sort_by_row(void* storage, size_t bytes, const int32_t* keys_in, int32_t* keys_out,
                   const int32_t* values_in, int32_t* values_out, int64_t n, int64_t rows,
                   void* stream) {
  check_cuda(cub::DeviceRadixSort::SortPairs(storage, bytes, keys_in, keys_out, values_in,
                                             values_out, static_cast<int>(n), 0, bits_of(rows),
                                             static_cast<cudaStream_t>(stream)),
             "sort by row");
  return bytes;
}

}  // namespace lexforge
