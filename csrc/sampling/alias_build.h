// The rounding steps of build_alias (sampling.h), shared by host and device so that both give the
// same table.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace lexforge {

constexpr uint64_t kAliasUnit = uint64_t{1} << 32;  // the share of an index of average weight

// Weights are scaled by a power of two that brings the largest into [2^61, 2^62), and summed as
// integers in two halves: exact, so the sum does not depend on its order.
struct AliasSum {
  uint64_t high, low;
};

LEXFORGE_HOST_DEVICE int alias_scale(double largest) {
  int exponent;
  std::frexp(largest, &exponent);
  return 62 - exponent;
}

LEXFORGE_HOST_DEVICE double alias_scaled(double weight, int scale) {
  return std::ldexp(weight, scale);
}

LEXFORGE_HOST_DEVICE void alias_add(AliasSum& sum, double scaled) {
  const uint64_t whole = static_cast<uint64_t>(std::rint(scaled));
  sum.high += whole >> 32;
  sum.low += whole & 0xFFFFFFFFu;
}

LEXFORGE_HOST_DEVICE double alias_total(const AliasSum& sum) {
  return static_cast<double>(sum.high) * 4294967296.0 + static_cast<double>(sum.low);
}

LEXFORGE_HOST_DEVICE uint64_t alias_share(double scaled, double total, int64_t size) {
  return static_cast<uint64_t>(
      std::rint(scaled / total * (static_cast<double>(size) * 4294967296.0)));
}

}  // namespace lexforge
