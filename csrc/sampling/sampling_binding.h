// What the CPU and the CUDA binding of the sampling ops check and fill in alike.
#pragma once

#include <optional>

#include "common/check.h"
#include "sampling/sampling.h"

namespace lexforge {

inline void check_weights(const Tensor& weights) {
  STD_TORCH_CHECK(
      weights.scalar_type() == ScalarType::Float || weights.scalar_type() == ScalarType::Double,
      "build_alias: weights must be float32 or float64");
  STD_TORCH_CHECK(weights.dim() == 1 && weights.is_contiguous(),
                  "build_alias: weights must be [V], contiguous");
  STD_TORCH_CHECK(weights.size(0) >= 1 && weights.size(0) < (int64_t{1} << 31),
                  "build_alias: weights must have 1 to 2^31 - 1 elements, got ", weights.size(0));
}

inline void check_table(const Tensor& table, const char* op) {
  check_contiguous(table, ScalarType::Int, 2, op, "table");
  STD_TORCH_CHECK(table.size(1) == 2, op, ": table must be [V, 2], got [V, ", table.size(1), "]");
  STD_TORCH_CHECK(table.size(0) >= 1 && table.size(0) < (int64_t{1} << 31), op,
                  ": table must have 1 to 2^31 - 1 rows, got ", table.size(0));
  STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(table.data_ptr()) % alignof(AliasEntry) == 0, op,
                  ": table must start at a multiple of 8 bytes");
}

inline AliasSampleParams alias_sample_params(const Tensor& table, int64_t count, int64_t seed,
                                             int64_t offset, ScalarType dtype) {
  check_table(table, "alias_sample");
  STD_TORCH_CHECK(count >= 0, "alias_sample: count must not be negative, got ", count);
  STD_TORCH_CHECK(dtype == ScalarType::Int || dtype == ScalarType::Long,
                  "alias_sample: dtype must be int32 or int64");
  return {data<AliasEntry>(table), table.size(0), static_cast<uint64_t>(seed),
          static_cast<uint64_t>(offset)};
}

// All but the result and the values of the offsets.
inline SampleNoiseParams sample_noise_params(const Tensor& table, const Tensor& positives,
                                             const Tensor& offsets,
                                             const std::optional<Tensor>& positions,
                                             int64_t first_position, int64_t negatives,
                                             int64_t seed, int64_t epoch) {
  check_table(table, "sample_noise");
  check_contiguous(positives, ScalarType::Int, 1, "sample_noise", "positives");
  check_contiguous(offsets, ScalarType::Long, 1, "sample_noise", "offsets");
  check_devices(
      "sample_noise",
      {{"table", table}, {"positives", positives}, {"offsets", offsets}, {"positions", positions}});
  STD_TORCH_CHECK(offsets.size(0) >= 1, "sample_noise: offsets must be [R + 1], got [0]");
  const int64_t rows = offsets.size(0) - 1;
  if (positions.has_value()) {
    check_contiguous(*positions, ScalarType::Long, 1, "sample_noise", "positions");
    STD_TORCH_CHECK(positions->size(0) == rows, "sample_noise: positions must be [R] = [", rows,
                    "], got [", positions->size(0), "]");
  }
  STD_TORCH_CHECK(negatives >= 0 && negatives <= kMaxNoisePerRow,
                  "sample_noise: negatives must be 0 to 2^20, got ", negatives);
  return {.table = data<AliasEntry>(table),
          .size = table.size(0),
          .positives = data<int32_t>(positives),
          .offsets = data<int64_t>(offsets),
          .positions = positions.has_value() ? data<int64_t>(*positions) : nullptr,
          .first_position = first_position,
          .rows = rows,
          .count = positives.size(0),
          .negatives = negatives,
          .seed = static_cast<uint64_t>(seed),
          .epoch = static_cast<uint32_t>(epoch),
          .noise = nullptr};
}

}  // namespace lexforge
