// Warp-level building blocks of tensor-core kernels, sm_80 and later: the instructions that the
// CUDA language has no word for.
//
// All 32 lanes of a warp call the collective ones together. Below, lane = 4 g + t.
#pragma once

#include "common/bfloat16.h"
#include "common/cuda_launch.cuh"

namespace lexforge {

// d [16, 8] += a [16, 16] b [16, 8], bfloat16 with float32 sums. A word holds two neighbours, the
// lower one in its low half.
//   a[0], a[1], a[2], a[3]   (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8) and column + 1
//   b0, b1                   (2t, g), (2t + 8, g) and row + 1
//   d[0], d[1], d[2], d[3]   (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
// So two tiles d side by side, packed, are a tile a.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of two-byte elements from shared memory. Lane 8 m + i brings the address of
// row i of matrix m, tile + offset, 16 bytes at a multiple of 16; words[m] gets elements (g, 2t)
// and (g, 2t + 1) of matrix m, or (2t, g) and (2t + 1, g) where it is to be transposed.
template <bool kTransposed>
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], const Bfloat16* tile,
                                              int offset) {
  const uint32_t address =
      static_cast<uint32_t>(__cvta_generic_to_shared(tile)) + offset * uint32_t{sizeof(Bfloat16)};
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
  }
}

// Copies kBytes (4 or 16, both addresses at a multiple) from global to shared memory behind the
// program's back, or writes zeros where they are not wanted. Visible to this thread after
// wait_for_copies, to others after a barrier that follows it. A kernel waits for all of its copies
// before it ends.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool wanted) {
  static_assert(kBytes == 4 || kBytes == 16);
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = wanted ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
  }
}

// Closes this thread's group of the copies since the last one (none is fine).
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most the last kPending groups are under way.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Two floats rounded to the nearest bfloat16, ties to even: `low` in the low half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

__device__ __forceinline__ float to_float(Bfloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

__device__ __forceinline__ Bfloat16 to_bf16(float value) {
  return {static_cast<uint16_t>(pack_bf16(value, 0.0f))};
}

// 2^x to two units in the last place; results below 2^-126 are zero.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace lexforge
