#include <cmath>
#include <cstdint>
#include <vector>

#include "sampling/alias_build.h"
#include "sampling/sampling.h"

namespace lexforge {
namespace {

// The next index from i on that is light, or heavy; size when there is none.
int64_t next_of(const std::vector<uint64_t>& shares, int64_t i, bool light) {
  const int64_t size = static_cast<int64_t>(shares.size());
  while (i < size && (shares[i] < kAliasUnit) != light) ++i;
  return i;
}

// One sweep over lights and heavies, both in ascending order. `left` is what the heavy in turn
// still holds: lights take from it while it holds more than a unit, then it takes from the next
// heavy.
void sweep(const std::vector<uint64_t>& shares, AliasEntry* table) {
  const int64_t size = static_cast<int64_t>(shares.size());
  int64_t light = next_of(shares, 0, true);
  int64_t heavy = next_of(shares, 0, false);
  uint64_t left = shares[heavy];
  while (heavy < size) {
    if (left > kAliasUnit) {
      table[light] = {static_cast<uint32_t>(shares[light]), static_cast<uint32_t>(heavy)};
      left -= kAliasUnit - shares[light];
      light = next_of(shares, light + 1, true);
    } else {
      const int64_t next = next_of(shares, heavy + 1, false);
      table[heavy] = left == kAliasUnit
                         ? AliasEntry{0xFFFFFFFFu, static_cast<uint32_t>(heavy)}
                         : AliasEntry{static_cast<uint32_t>(left), static_cast<uint32_t>(next)};
      if (next < size) left += shares[next] - kAliasUnit;
      heavy = next;
    }
  }
}

}  // namespace

template <typename scalar_t>
bool build_alias_cpu(const scalar_t* weights, int64_t size, AliasEntry* table) {
  int64_t largest = 0;
  for (int64_t i = 0; i < size; ++i) {
    const double weight = weights[i];
    if (!(weight >= 0) || !std::isfinite(weight)) return false;
    if (weights[i] > weights[largest]) largest = i;
  }
  if (size == 0 || weights[largest] == 0) return false;

  const int scale = alias_scale(weights[largest]);
  AliasSum sum = {0, 0};
  for (int64_t i = 0; i < size; ++i) alias_add(sum, alias_scaled(weights[i], scale));
  const double total = alias_total(sum);

  std::vector<uint64_t> shares(size);
  uint64_t missing = static_cast<uint64_t>(size) * kAliasUnit;  // may wrap below zero and back
  for (int64_t i = 0; i < size; ++i) {
    shares[i] = alias_share(alias_scaled(weights[i], scale), total, size);
    missing -= shares[i];
  }
  shares[largest] += missing;
  sweep(shares, table);
  return true;
}

template bool build_alias_cpu(const float*, int64_t, AliasEntry*);
template bool build_alias_cpu(const double*, int64_t, AliasEntry*);

}  // namespace lexforge
