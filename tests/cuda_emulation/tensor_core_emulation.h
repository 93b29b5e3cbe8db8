// The emulated device's twins of the instructions in common/tensor_core.cuh.
//
// Asynchronous copies happen as late as they may, when the thread waits for them: a kernel that
// reads before it has waited finds what was there before.
#pragma once

#include <cmath>
#include <cstring>
#include <deque>

#include "common/bfloat16.h"
#include "cuda_emulation.h"

namespace lexforge::emulation {

inline int thread_number() {
  return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}

// What the lanes of a warp show each other.
template <typename T>
T* warp_exchange() {
  static T lanes[1024];
  return lanes + thread_number() / warpSize * warpSize;
}

inline float bf16_half(uint32_t word, int half) {
  return __uint_as_float(half == 0 ? word << 16 : word & 0xFFFF0000u);
}

inline uint16_t bf16_bits(float value) {
  const unsigned bits = __float_as_uint(value);
  if (std::isnan(value)) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Operands {
    uint32_t a[4], b[2];
  };
  Operands* lanes = warp_exchange<Operands>();
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  lanes[lane] = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  __syncwarp();
  for (int i = 0; i < 4; ++i) {
    const int lower = i / 2, column = 2 * t + i % 2;
    float sum = d[i];
    for (int k = 0; k < 16; ++k) {
      const Operands& left = lanes[4 * g + k % 8 / 2];
      const Operands& right = lanes[4 * column + k % 8 / 2];
      sum += bf16_half(left.a[k / 8 * 2 + lower], k % 2) * bf16_half(right.b[k / 8], k % 2);
    }
    d[i] = sum;
  }
  __syncwarp();
}

inline void load_matrices(uint32_t (&words)[4], const Bfloat16* row, bool transposed) {
  const Bfloat16** lanes = warp_exchange<const Bfloat16*>();
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("ldmatrix: a row is not aligned", {});
  lanes[lane] = row;
  __syncwarp();
  for (int m = 0; m < 4; ++m) {
    const Bfloat16* const* rows = lanes + 8 * m;
    const uint32_t low = (transposed ? rows[2 * t][g] : rows[g][2 * t]).bits;
    const uint32_t high = (transposed ? rows[2 * t + 1][g] : rows[g][2 * t + 1]).bits;
    words[m] = low | high << 16;
  }
  __syncwarp();
}

struct Copies {
  struct Copy {
    void* to;
    const void* from;
    int bytes;
    bool wanted, last_of_group;
  };
  std::deque<Copy> waiting;
  int groups = 0;  // closed ones in `waiting`
};

inline Copies& copies_of_thread() {
  static Copies all[1024];
  return all[thread_number()];
}

inline void copy_async(void* to, const void* from, int bytes, bool wanted) {
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % bytes != 0) {
    fail("cp.async: an address is not aligned", {});
  }
  copies_of_thread().waiting.push_back({to, from, bytes, wanted, false});
}

inline void commit_copies() {
  Copies& copies = copies_of_thread();
  copies.waiting.push_back({nullptr, nullptr, 0, false, true});
  ++copies.groups;
}

inline void wait_for_copies(int pending) {
  Copies& copies = copies_of_thread();
  while (copies.groups > pending) {
    const Copies::Copy copy = copies.waiting.front();
    copies.waiting.pop_front();
    if (copy.last_of_group) {
      --copies.groups;
    } else if (copy.wanted) {
      std::memcpy(copy.to, copy.from, copy.bytes);
    } else {
      std::memset(copy.to, 0, copy.bytes);
    }
  }
}

}  // namespace lexforge::emulation
