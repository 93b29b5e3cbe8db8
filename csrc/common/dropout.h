// Dropout as every op here does it: each number is kept where its own 16 random bits are at least
// `threshold`, and multiplied by `scale`. The bits are a function of the seed and of where the
// number stands, so a backward draws them again instead of keeping a mask.
#pragma once

#include <cstdint>

#include "common/host_device.h"
#include "common/philox.h"

namespace lexforge {

// p is rounded to a multiple of 2^-16: kept numbers are multiplied by 65536 / (65536 - threshold),
// which is 0 if all are dropped.
struct Dropout {
  const int64_t* seed;  // one element, on the device of the data; null without dropout
  uint32_t threshold;   // 0 ... 65536; 0 without dropout
  float scale;          // of what is kept
};

inline Dropout dropout_of(const int64_t* seed, double p) {
  const auto threshold = static_cast<uint32_t>(p * 65536.0 + 0.5);
  const uint32_t kept = 65536 - threshold;
  return {threshold == 0 ? nullptr : seed, threshold,
          kept == 0 ? 0.0f : static_cast<float>(65536.0 / kept)};
}

// The 16 bits of one of the eight numbers that share a quad: word half / 2, low half first.
LEXFORGE_HOST_DEVICE uint32_t dropout_bits(const PhiloxQuad& quad, uint32_t half) {
  // Selects, not an index: a GPU would put the quad into memory for that.
  const uint32_t even = half & 4 ? quad.word[2] : quad.word[0];
  const uint32_t odd = half & 4 ? quad.word[3] : quad.word[1];
  const uint32_t word = half & 2 ? odd : even;
  return half & 1 ? word >> 16 : word & 0xFFFFu;
}

// Whether an op that drops elements of a tensor keeps element `index` of its flat, contiguous form:
// the definition, an element at a time. Eight neighbours share the quad at position index / 8.
LEXFORGE_HOST_DEVICE bool dropout_keeps(uint64_t seed, uint32_t threshold, uint64_t index,
                                        RandomStream stream) {
  return dropout_bits(philox_at(seed, 0, index >> 3, stream, 0), index & 7) >= threshold;
}

}  // namespace lexforge
