// The last step of sums over rows that are cut into fixed groups.
#pragma once

#include <cstdint>

namespace lexforge {

// to[h] = sum over g < groups of partial[g * stride + h], in order, for h in [first, last).
template <typename stat_t>
void sum_groups(const stat_t* partial, int64_t groups, int64_t stride, int64_t first, int64_t last,
                stat_t* to) {
  for (int64_t h = first; h < last; ++h) to[h] = 0;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t h = first; h < last; ++h) to[h] += partial[g * stride + h];
  }
}

}  // namespace lexforge
