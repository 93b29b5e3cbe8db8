// A row and its score as one number, larger for what comes first: the better score, and of equal
// ones the smaller row. No two rows are equal, so that the k largest are the same ones in whatever
// parts a table is searched.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"

namespace lexforge {

// No row: less than the rank of any.
constexpr uint64_t kNoRank = 0;

// 0 <= row < 2^31. -0 ranks as 0, NaN below all numbers.
LEXFORGE_HOST_DEVICE uint64_t rank_of(float score, int64_t row) {
  uint32_t bits;
  std::memcpy(&bits, &score, sizeof bits);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude == 0) bits = 0;
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  const uint64_t upper = magnitude > 0x7F800000u ? 0 : ordered;
  return upper << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(row));
}

LEXFORGE_HOST_DEVICE bool is_number(uint64_t rank) { return rank >> 32 != 0; }

// The score as it was, but for the signs of 0 and NaN.
LEXFORGE_HOST_DEVICE float score_of(uint64_t rank) {
  const auto ordered = static_cast<uint32_t>(rank >> 32);
  uint32_t bits = (ordered & 0x80000000u) != 0 ? ordered & 0x7FFFFFFFu : ~ordered;
  if (!is_number(rank)) bits = rank == kNoRank ? 0xFF800000u : 0x7FC00000u;
  float score;
  std::memcpy(&score, &bits, sizeof score);
  return score;  // minus infinity where there is no row
}

// -1 where there is no row.
LEXFORGE_HOST_DEVICE int64_t row_of(uint64_t rank) {
  return rank == kNoRank ? -1 : static_cast<int64_t>(0xFFFFFFFFu - static_cast<uint32_t>(rank));
}

}  // namespace lexforge
