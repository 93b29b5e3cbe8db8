// Warp-level reductions and vector atomics. All 32 lanes call these together.
#pragma once

#include "common/cuda_launch.cuh"

namespace lexforge {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

// The sum over the warp, in every lane.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

// dot(v, row) in every lane, which reads the elements lane, lane + 32, ... of both.
template <typename T>
__device__ __forceinline__ T warp_dot(const T* v, const T* row, int64_t dim, int lane) {
  T sum = 0;
  for (int64_t d = lane; d < dim; d += kWarp) sum += v[d] * row[d];
  return warp_sum(sum);
}

// kCount sums over the warp, 1 <= kCount <= 32, at the price of little more than kCount shuffles,
// where kCount calls of warp_sum take five each: at every step half of the values go to the other
// half of the lanes. Lane l gets the sum of values[warp_sums_index<kCount>(l)]; for a power of two
// that is l * kCount / 32, and other numbers leave lanes without a value.
template <int kCount>
__device__ __forceinline__ float warp_sums(float (&values)[kCount], int lane) {
  int step = kWarp / 2;
#pragma unroll
  for (int count = kCount; count > 1; count = (count + 1) / 2, step /= 2) {
    const int half = (count + 1) / 2;
    const bool upper = (lane & step) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float other = i + half < count ? values[i + half] : 0.0f;
      const float sent = upper ? values[i] : other;
      const float kept = upper ? other : values[i];
      values[i] = kept + __shfl_xor_sync(kAllLanes, sent, step);
    }
  }
  float sum = values[0];
#pragma unroll
  for (; step > 0; step /= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
  return sum;
}

// Which sum a lane gets, or kCount where it gets none.
template <int kCount>
__device__ __forceinline__ int warp_sums_index(int lane) {
  int index = 0, left = kCount;
#pragma unroll
  for (int count = kCount, step = kWarp / 2; count > 1; count = (count + 1) / 2, step /= 2) {
    const int half = (count + 1) / 2;
    if ((lane & step) != 0) {
      index += half;
      left -= half;
    } else {
      left = min(left, half);
    }
  }
  return left > 0 ? index : kCount;
}

// How many lanes get each sum: the lanes from warp_sums_lane<kCount>(index) on.
template <int kCount>
__device__ constexpr int warp_sums_copies() {
  int copies = kWarp;
  for (int count = kCount; count > 1; count = (count + 1) / 2) copies /= 2;
  return copies;
}

template <int kCount>
__device__ constexpr int warp_sums_lane(int index) {
  int lane = 0, step = kWarp / 2;
  for (int count = kCount; count > 1; count = (count + 1) / 2, step /= 2) {
    const int half = (count + 1) / 2;
    if (index >= half) {
      index -= half;
      lane += step;
    }
  }
  return lane;
}

// Four floats from memory that atomics of this and other multiprocessors change, or zeros where
// they are not wanted: no branch, so that many loads are in flight. Sees the calling thread's own
// earlier atomic_add4 to the same address.
__device__ __forceinline__ float4 load_live4(const float4* address, bool wanted) {
  float4 value;
  asm volatile(
      "{\n"
      "  .reg .pred wanted;\n"
      "  setp.ne.s32 wanted, %5, 0;\n"
      "  mov.f32 %0, 0f00000000;\n"
      "  mov.f32 %1, 0f00000000;\n"
      "  mov.f32 %2, 0f00000000;\n"
      "  mov.f32 %3, 0f00000000;\n"
      "  @wanted ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];\n"
      "}"
      : "=&f"(value.x), "=&f"(value.y), "=&f"(value.z), "=&f"(value.w)
      : "l"(address), "r"(static_cast<int>(wanted))
      : "memory");
  return value;
}

// Adds four floats to memory, each atomically; one instruction from sm_90 on.
__device__ __forceinline__ void atomic_add4(float4* address, float4 value) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(address),
               "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w)
               : "memory");
#else
  atomicAdd(&address->x, value.x);
  atomicAdd(&address->y, value.y);
  atomicAdd(&address->z, value.z);
  atomicAdd(&address->w, value.w);
#endif
}

}  // namespace lexforge
