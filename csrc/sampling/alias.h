// Alias tables (Walker 1977, built as Vose 1991): a draw from V weights in two words and one read.
#pragma once

#include <cstdint>

#include "common/host_device.h"
#include "common/philox.h"

namespace lexforge {

// 8 bytes, so that a draw reads one cache-line sector. As a tensor: int32 [V, 2], the threshold's
// bits first. How it is built: sampling.h.
struct alignas(8) AliasEntry {
  uint32_t threshold;  // own index when the second word is below it: probability threshold / 2^32
  uint32_t alias;      // the index otherwise; the own index where the probability is 1
};

LEXFORGE_HOST_DEVICE int32_t alias_draw(const AliasEntry* table, uint32_t size, uint32_t word0,
                                        uint32_t word1) {
  const uint32_t index = bounded(word0, size);
  const AliasEntry entry = table[index];
  return static_cast<int32_t>(word1 < entry.threshold ? index : entry.alias);
}

}  // namespace lexforge
