// Rows in the registers of a block's threads, eight neighbours at a time: what the kernels of
// transformer/ share.
#pragma once

#include <cstdint>

#include "common/cuda_launch.cuh"
#include "common/dropout.h"
#include "common/octets.cuh"
#include "common/warp.cuh"

namespace lexforge {

// Bit i: is element `index` + i kept; index is a multiple of eight.
__device__ __forceinline__ uint32_t keep_octet(const Dropout& dropout, int64_t index,
                                               RandomStream stream) {
  const PhiloxQuad quad = philox_at(static_cast<uint64_t>(*dropout.seed), 0,
                                    static_cast<uint64_t>(index) >> 3, stream, 0);
  uint32_t bits = 0;
#pragma unroll
  for (uint32_t i = 0; i < kOctet; ++i) {
    bits |= static_cast<uint32_t>(dropout_bits(quad, i) >= dropout.threshold) << i;
  }
  return bits;
}

// Sums over the kLanes threads that share a row, in every one of them; all threads of the block
// call it together. Calls that follow one another take turns with the halves of `shared`.
template <int kLanes, int kCount, typename stat_t>
struct RowSums {
  static constexpr int kWarps = kLanes / kWarp;
  stat_t (*shared)[kWarps > 1 ? kWarps : 1][kCount];
  int turn = 0;

  __device__ __forceinline__ void operator()(stat_t (&values)[kCount]) {
#pragma unroll
    for (int step = (kLanes < kWarp ? kLanes : kWarp) / 2; step > 0; step /= 2) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += __shfl_xor_sync(kAllLanes, values[i], step);
    }
    if constexpr (kWarps > 1) {
      const int warp = static_cast<int>(threadIdx.x) / kWarp;
      if (threadIdx.x % kWarp == 0) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) shared[turn][warp][i] = values[i];
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        values[i] = 0;
#pragma unroll
        for (int w = 0; w < kWarps; ++w) values[i] += shared[turn][w][i];
      }
      turn ^= 1;
    }
  }
};

// Rows that fit in registers, of whole octets, all at multiples of 16 bytes.
constexpr int64_t kMaxRegisterDim = 4096;

// Whether rows of this many elements at these places are octets at multiples of 16 bytes.
template <typename... Pointers>
bool whole_octets(int64_t dim, const Pointers*... pointers) {
  return dim % kOctet == 0 && ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

template <typename... Pointers>
bool in_octets(int64_t dim, const Pointers*... pointers) {
  return dim <= kMaxRegisterDim && whole_octets(dim, pointers...);
}

template <int kLanes_, int kOctets_>
struct RowShape {
  static constexpr int kLanes = kLanes_, kOctets = kOctets_;
};

// function(RowShape) for the fewest threads and registers that hold a row of `dim`.
template <typename Function>
void with_row_shape(int64_t dim, const Function& function) {
  const int64_t octets = dim / kOctet;
  if (octets <= 16) return function(RowShape<16, 1>{});
  if (octets <= 32) return function(RowShape<32, 1>{});
  if (octets <= 64) return function(RowShape<32, 2>{});
  if (octets <= 96) return function(RowShape<32, 3>{});
  if (octets <= 128) return function(RowShape<128, 1>{});
  if (octets <= 256) return function(RowShape<128, 2>{});
  if (octets <= 384) return function(RowShape<128, 3>{});
  return function(RowShape<128, 4>{});
}

// The last step of sums over rows that are cut into groups: one to three sums of `width` columns,
//   to[s][column] = sum over groups of partial[group * stride + s * width + column].
template <typename stat_t>
struct GroupSums {
  const stat_t* partial;
  int64_t groups, stride, width;
  stat_t* to[3];
};

// A block has 32 columns of a sum. Each of its slices, a row of threads, adds every kCount-th
// group, and these are added in order. Bound by how long loads take, not by how many there are, so
// that many groups want many slices.
constexpr int kSlices = 8, kManySlices = 32;
constexpr int64_t kManyGroups = 256;
template <int kCount, typename stat_t>
__global__ void __launch_bounds__(kWarp* kCount) sum_groups_kernel(GroupSums<stat_t> sums) {
  __shared__ stat_t shared[kCount][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int slice = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t column = int64_t{blockIdx.x} * kWarp + lane;
  const stat_t* partial = sums.partial + blockIdx.y * sums.width + column;
  stat_t sum = 0;
  if (column < sums.width) {
#pragma unroll 4
    for (int64_t group = slice; group < sums.groups; group += kCount) {
      sum += partial[group * sums.stride];
    }
  }
  shared[slice][lane] = sum;
  __syncthreads();
  if (slice != 0 || column >= sums.width) return;
#pragma unroll
  for (int s = 1; s < kCount; ++s) sum += shared[s][lane];
  // Not to[blockIdx.y], for which the compiler would copy the array to memory.
  (blockIdx.y == 0 ? sums.to[0] : blockIdx.y == 1 ? sums.to[1] : sums.to[2])[column] = sum;
}

template <typename stat_t>
void launch_sum_groups(const GroupSums<stat_t>& sums, uint32_t count, cudaStream_t stream) {
  const dim3 grid(blocks_for(sums.width, kWarp), count);
  if (sums.groups > kManyGroups) {
    launch(sum_groups_kernel<kManySlices, stat_t>, grid, dim3(kWarp * kManySlices), 0, stream,
           sums);
  } else {
    launch(sum_groups_kernel<kSlices, stat_t>, grid, dim3(kWarp * kSlices), 0, stream, sums);
  }
}

}  // namespace lexforge
