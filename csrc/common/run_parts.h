// CUDA: the memory that sums over runs of sorted occurrences take (run_parts.cuh).
#pragma once

#include <cstdint>

namespace lexforge {

constexpr int64_t kRunPartOccurrences = 32;

// Rows of partial sums for n occurrences: a run that comes in and one that goes on, for each part.
inline int64_t run_partials(int64_t n) {
  return 2 * ((n + kRunPartOccurrences - 1) / kRunPartOccurrences);
}

}  // namespace lexforge
