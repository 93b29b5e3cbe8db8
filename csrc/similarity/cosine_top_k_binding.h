// The body of cosine_top_k on any device.
#pragma once

#include <tuple>

#include "common/binding.h"
#include "similarity/cosine_top_k.h"

namespace lexforge {

// (ids, scores).
template <typename Device>
std::tuple<Tensor, Tensor> cosine_top_k(const Tensor& table, const Tensor& norms,
                                        const Tensor& queries, const OptionalTensor& excluded,
                                        int64_t first, int64_t last, int64_t k) {
  const Checks check("cosine_top_k", "table", table);
  check.that(table.dim() == 2, "table must have 2 dimensions, got ", table.dim());
  check.unit_stride("table", table);
  const int64_t rows = table.size(0), dim = table.size(1);
  check.that(rows <= INT32_MAX, "table must have fewer than 2^31 rows, got ", rows);
  check.tensor("norms", norms, ScalarType::Float, {rows});
  check.tensor("queries", queries, ScalarType::Float, {Checks::kAny, dim});
  const int64_t count = queries.size(0);
  check.tensor("excluded", excluded, ScalarType::Long, {count, Checks::kAny});
  check.range("first and last", first, last, rows);
  check.that(k >= 0, "k must be >= 0, got ", k);
  const Device device(table);
  const Tensor ids = new_empty(queries, {count, k}, ScalarType::Long);
  const Tensor scores = new_empty(queries, {count, k});
  const ScalarType dtype = table.scalar_type();
  for_types<float, Bfloat16, Half>(check.op, "table", dtype, [&]<typename scalar_t>() {
    if (count == 0 || k == 0) return;
    device.run(
        CosineTopKParams<scalar_t>{
            .table = data<const scalar_t>(table),
            .norms = data<const float>(norms),
            .queries = data<const float>(queries),
            .excluded = data_or_null<const int64_t>(excluded),
            .stride = table.stride(0),
            .dim = dim,
            .count = count,
            .most_excluded = excluded.has_value() ? excluded->size(1) : 0,
            .first = first,
            .last = last,
            .k = k,
            .ids = data<int64_t>(ids),
            .scores = data<float>(scores),
        },
        ids);
  });
  return {ids, scores};
}

}  // namespace lexforge
