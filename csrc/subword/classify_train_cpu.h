// The CPU builds of the kernel of classify_train_ (contract: classify_train.h).
#pragma once

#include <cstdint>

#include "common/scratch.h"
#include "subword/classify_train.h"

namespace lexforge {

// The largest of the lines of a call, and what the arrays that a thread works in are for.
struct ClassifyTrainSizes {
  int64_t features;  // of a line
  int64_t targets;   // of a line
};

// Arrays of one thread, carved from memory that it owns.
template <typename scalar_t>
struct ClassifyTrainWork {
  static constexpr int64_t kWidest = 64;  // elements that a register or a tile may run over

  int32_t* rows[2];  // features of a line, and of the next one
  int32_t* target;   // rows of out_table
  scalar_t* label;   // y of each target
  scalar_t* error;   // scores, then errors
  scalar_t* hidden;  // x
  scalar_t* gradient;

  ClassifyTrainWork(const ClassifyTrainSizes& sizes, int64_t stride, Carver& carve)
      : rows{carve.take<int32_t>(sizes.features), carve.take<int32_t>(sizes.features)},
        target(carve.take<int32_t>(sizes.targets)),
        label(carve.take<scalar_t>(sizes.targets + kWidest)),
        error(carve.take<scalar_t>(sizes.targets + kWidest)),
        hidden(carve.take<scalar_t>(stride)),
        gradient(carve.take<scalar_t>(stride)) {}
};

// Trains on params' lines in order, on the calling thread, and adds to stats[0..1]. All that params
// point to has been looked at.
template <typename scalar_t>
using ClassifyTrainFunction = void(const ClassifyTrainParams<scalar_t>& params,
                                   const ClassifyTrainWork<scalar_t>& work, double* stats);

namespace baseline {
ClassifyTrainFunction<float> classify_train;
ClassifyTrainFunction<double> classify_train_double;  // for tests
}  // namespace baseline
namespace avx2 {
ClassifyTrainFunction<float> classify_train;
}  // namespace avx2
namespace avx512 {
ClassifyTrainFunction<float> classify_train;
}  // namespace avx512

}  // namespace lexforge
