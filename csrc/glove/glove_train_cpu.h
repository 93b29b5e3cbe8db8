// The CPU builds of the GloVe kernel (contract: glove_train.h).
#pragma once

#include <cstdint>

#include "glove/glove_train.h"

namespace lexforge {

// Adam at the t-th entry of a row:
//   p -= size m / (sqrt(v) + epsilon),  size = lr sqrt(1 - beta2^t) / (1 - beta1^t),
//                                       epsilon = eps sqrt(1 - beta2^t)
template <typename scalar_t>
struct GloveAdamStep {
  scalar_t size, epsilon;
};

// The steps of t = 1 .. kSteps at steps[t - 1]; `later` for all t beyond, where the powers of the
// betas have vanished, or where they have not, as glove_adam_step has it.
template <typename scalar_t>
struct GloveAdam {
  static constexpr int64_t kSteps = 8192;
  const GloveAdamStep<scalar_t>* steps;  // null for the other optimisers
  double log_beta1, log_beta2;           // -infinity for a beta of 0
  double learning_rate, epsilon;
  int64_t settled;  // from this t on both powers are below 2^-54
};

template <typename scalar_t>
GloveAdamStep<scalar_t> glove_adam_step(const GloveAdam<scalar_t>& adam, double t);

// Trains one tile on the calling thread and sets `cost` to the sum over its entries. Returns false,
// having stopped, when the tile is not as glove_train.h says.
template <typename scalar_t>
using GloveTileFunction = bool(const GloveTrainParams<scalar_t>& params,
                               const GloveAdam<scalar_t>& adam, int64_t tile, double* cost);

namespace baseline {
GloveTileFunction<float> glove_train_tile;
GloveTileFunction<double> glove_train_tile_double;  // for tests
}  // namespace baseline
namespace avx2 {
GloveTileFunction<float> glove_train_tile;
}
namespace avx512 {
GloveTileFunction<float> glove_train_tile;
}

}  // namespace lexforge
