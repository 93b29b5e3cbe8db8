// What of the search on the CPU needs no instruction set of its own (contract: cosine_top_k.h).
#include <algorithm>
#include <cmath>
#include <functional>

#include "similarity/cosine_top_k.h"
#include "similarity/rank.h"

namespace lexforge {

void keep_best(BestRanks& best, int64_t k) {
  if (best.size <= k) return;
  std::nth_element(best.ranks, best.ranks + k - 1, best.ranks + best.size, std::greater<>());
  best.size = k;
  best.least = best.ranks[k - 1];
  best.threshold = score_of(best.least);
  best.selective = is_number(best.least);
}

void write_unit_query(const float* query, int64_t dim, float* to) {
  double sum = 0;
  for (int64_t d = 0; d < dim; ++d) sum += static_cast<double>(query[d]) * query[d];
  const double length = std::sqrt(sum), factor = 1 / (length < kLeastNorm ? kLeastNorm : length);
  for (int64_t d = 0; d < dim; ++d) to[d] = static_cast<float>(factor * query[d]);
  std::fill(to + dim, to + padded_dim(dim), 0.0f);
}

}  // namespace lexforge
