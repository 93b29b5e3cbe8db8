// The body of sampling.h's ops on any device.
#pragma once

#include <algorithm>

#include "common/binding.h"
#include "sampling/sampling.h"

namespace lexforge {

template <typename Device>
Tensor build_alias(const Tensor& weights) {
  const Checks check("build_alias", "weights", weights);
  check.that(weights.dim() == 1 && weights.is_contiguous(), "weights must be [V], contiguous");
  const int64_t size = weights.size(0);
  check.that(size >= 1 && size <= INT32_MAX, "weights must have 1 to 2^31 - 1 elements, got ",
             size);
  const Device device(weights);
  const Tensor table = new_empty(weights, {size, 2}, ScalarType::Int);
  for_types<float, double>(check.op, "weights", weights.scalar_type(), [&]<typename scalar_t>() {
    device.build(check, weights, data<const scalar_t>(weights), data<AliasEntry>(table));
  });
  return table;
}

// An alias table, of so many rows if they are told. A draw from it is taken for a row of other
// tensors: where the table can be read, every alias is looked at.
template <typename Device>
const AliasEntry* alias_table(const Checks& check, const char* name, const Tensor& table,
                              int64_t rows = Checks::kAny) {
  check.tensor(name, table, ScalarType::Int, {rows, 2});
  const int64_t size = table.size(0);
  check.that(size >= 1 && size <= INT32_MAX, name, " must have 1 to 2^31 - 1 rows, got ", size);
  check.aligned(name, table, alignof(AliasEntry));
  const auto* entries = data<const AliasEntry>(table);
  if constexpr (Device::kReadable) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < size; ++i) largest = std::max(largest, entries[i].alias);
    if (largest >= size) {
      const auto outside = [&](const AliasEntry& entry) { return entry.alias >= size; };
      const auto* bad = std::find_if(entries, entries + size, outside);
      check.that(false, name, "[", bad - entries, "] must have an alias in [0, ", size, "), got ",
                 static_cast<int32_t>(bad->alias));
    }
  }
  return entries;
}

template <typename Device>
Tensor alias_sample(const Tensor& table, int64_t count, int64_t seed, int64_t offset,
                    ScalarType dtype) {
  const Checks check("alias_sample", "table", table);
  const AliasEntry* entries = alias_table<Device>(check, "table", table);
  check.that(count >= 0, "count must not be negative, got ", count);
  const Device device(table);
  const Tensor out = new_empty(table, {count}, dtype);
  const AliasSampleParams params{entries, table.size(0), static_cast<uint64_t>(seed),
                                 static_cast<uint64_t>(offset)};
  for_types<int32_t, int64_t>(check.op, "dtype", dtype, [&]<typename index_t>() {
    device.run(params, count, data<index_t>(out));
  });
  return out;
}

template <typename Device>
Tensor sample_noise(const Tensor& table, const Tensor& positives, const Tensor& offsets,
                    const OptionalTensor& positions, int64_t first_position, int64_t negatives,
                    int64_t seed, int64_t epoch) {
  const Checks check("sample_noise", "table", table);
  check.tensor("positives", positives, ScalarType::Int, {Checks::kAny});
  check.tensor("offsets", offsets, ScalarType::Long, {Checks::kAny});
  check.that(offsets.size(0) >= 1, "offsets must be [R + 1], got [0]");
  const int64_t rows = offsets.size(0) - 1, count = positives.size(0);
  check.tensor("positions", positions, ScalarType::Long, {rows});
  const AliasEntry* entries = alias_table<Device>(check, "table", table);
  check.that(negatives >= 0 && negatives <= kMaxNoisePerRow, "negatives must be 0 to 2^20, got ",
             negatives);
  const Device device(table);
  SampleNoiseParams params{.table = entries,
                           .size = table.size(0),
                           .positives = data<const int32_t>(positives),
                           .offsets = data<const int64_t>(offsets),
                           .positions = data_or_null<const int64_t>(positions),
                           .first_position = first_position,
                           .rows = rows,
                           .count = count,
                           .negatives = negatives,
                           .seed = static_cast<uint64_t>(seed),
                           .epoch = static_cast<uint32_t>(epoch),
                           .noise = nullptr};
  device.check_offsets(check, params);
  const Tensor noise = new_empty(positives, {negatives * count});
  params.noise = data<int32_t>(noise);
  device.run(params);
  return noise;
}

}  // namespace lexforge
