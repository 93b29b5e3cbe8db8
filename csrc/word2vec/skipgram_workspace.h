// Arrays carved from one block of memory that the caller owns and keeps between steps.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/scratch.h"
#include "word2vec/skipgram_step.h"

namespace lexforge {

// The largest minibatch that fits: examples, slots, and the sizes of both tables.
struct SkipgramStepSizes {
  int64_t batch, slots, in_rows, out_rows, stride;
};

inline RowGroups carve_groups(Carver& carve, int64_t occurrences, int64_t table_rows) {
  const int64_t most = std::min(occurrences, table_rows);
  return {carve.take<int32_t>(most), carve.take<int32_t>(most + 1),
          carve.take<int32_t>(occurrences), 0};
}

inline SkipgramMinibatch carve_minibatch(Carver& carve, const SkipgramStepSizes& sizes) {
  SkipgramMinibatch batch{};
  batch.center = carve.take<int32_t>(sizes.batch);
  batch.begin = carve.take<int32_t>(sizes.batch + 1);
  batch.target = carve.take<int32_t>(sizes.slots);
  batch.example = carve.take<int32_t>(sizes.slots);
  batch.weight = carve.take<float>(sizes.slots);
  batch.label = carve.take<float>(sizes.slots);
  batch.centers = carve_groups(carve, sizes.batch, sizes.in_rows);
  batch.targets = carve_groups(carve, sizes.slots, sizes.out_rows);
  return batch;
}

inline void carve_scratch(Carver& carve, const SkipgramStepSizes& sizes,
                          SkipgramStepParams& params) {
  params.center_row = carve.take<float>(sizes.batch * sizes.stride);
  params.center_grad = carve.take<float>(sizes.batch * sizes.stride);
  params.error = carve.take<float>(sizes.slots);
  params.loss = carve.take<float>(sizes.batch);
}

// Zeroed counters of group_rows.
inline int32_t* carve_head(Carver& carve, const SkipgramStepSizes& sizes) {
  return carve.take<int32_t>(std::max(sizes.in_rows, sizes.out_rows));
}

// Groups what the minibatch touches. An example without slots gives its centre no gradient.
inline void group_minibatch(int32_t* head, SkipgramMinibatch& batch) {
  group_rows(batch.center, batch.size, head, batch.centers, false,
             [&](int64_t b) { return batch.begin[b] < batch.begin[b + 1]; });
  group_rows(batch.target, batch.begin[batch.size], head, batch.targets, false,
             [](int64_t) { return true; });
}

// Bytes of one minibatch and its step.
inline int64_t skipgram_step_workspace(int64_t batch, int64_t slots, int64_t in_rows,
                                       int64_t out_rows, int64_t stride) {
  const SkipgramStepSizes sizes{batch, slots, in_rows, out_rows, stride};
  Carver carve(nullptr);
  SkipgramStepParams params{};
  carve_minibatch(carve, sizes);
  carve_scratch(carve, sizes, params);
  carve_head(carve, sizes);
  return carve.used();
}

}  // namespace lexforge
