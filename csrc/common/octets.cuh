// Elements of rows as the numbers one computes with, one at a time and eight neighbours at once.
#pragma once

#include <cstdint>

#include "common/tensor_core.cuh"

namespace lexforge {

// Eight neighbours: what shares a Philox quad, and one or two loads of 16 bytes.
constexpr int kOctet = 8;

__device__ __forceinline__ void load_octet(const float* from, float (&to)[kOctet]) {
  const float4 low = reinterpret_cast<const float4*>(from)[0];
  const float4 high = reinterpret_cast<const float4*>(from)[1];
  to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
  to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}
__device__ __forceinline__ void load_octet(const Bfloat16* from, float (&to)[kOctet]) {
  const uint4 packed = *reinterpret_cast<const uint4*>(from);
  const uint32_t word[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = __uint_as_float(word[i] << 16);
    to[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000u);
  }
}
__device__ __forceinline__ void store_octet(float* to, const float (&from)[kOctet]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(from[0], from[1], from[2], from[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(from[4], from[5], from[6], from[7]);
}
__device__ __forceinline__ void store_octet(Bfloat16* to, const float (&from)[kOctet]) {
  *reinterpret_cast<uint4*>(to) =
      make_uint4(pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]),
                 pack_bf16(from[4], from[5]), pack_bf16(from[6], from[7]));
}

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ double number(double x) { return x; }
__device__ __forceinline__ float number(Bfloat16 x) { return to_float(x); }
__device__ __forceinline__ void store_number(float* to, float x) { *to = x; }
__device__ __forceinline__ void store_number(double* to, double x) { *to = x; }
__device__ __forceinline__ void store_number(Bfloat16* to, float x) { *to = to_bf16(x); }

}  // namespace lexforge
