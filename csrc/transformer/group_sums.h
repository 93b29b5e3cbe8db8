// The last step of sums over rows that are cut into fixed groups.
#pragma once

#include <cstdint>

namespace lexforge {

// to[h] = sum over g < groups of partial[g * stride + h], in order and in double, for h in
// [first, last).
template <typename stat_t>
void sum_groups(const stat_t* partial, int64_t groups, int64_t stride, int64_t first, int64_t last,
                stat_t* to) {
  constexpr int64_t kColumns = 64;
  for (int64_t begin = first; begin < last; begin += kColumns) {
    const int64_t n = last - begin < kColumns ? last - begin : kColumns;
    double sums[kColumns] = {};
    for (int64_t g = 0; g < groups; ++g) {
      const stat_t* row = partial + g * stride + begin;
      for (int64_t h = 0; h < n; ++h) sums[h] += row[h];
    }
    for (int64_t h = 0; h < n; ++h) to[begin + h] = static_cast<stat_t>(sums[h]);
  }
}

}  // namespace lexforge
