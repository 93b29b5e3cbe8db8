// CPU binding of glove_train_.
#include <cmath>
#include <vector>

#include "common/cpu_binding.h"
#include "glove/glove_train_binding.h"
#include "glove/glove_train_cpu.h"

namespace lexforge {

template <typename scalar_t>
GloveAdamStep<scalar_t> glove_adam_step(const GloveAdam<scalar_t>& adam, double t) {
  // 1 - beta^t without the cancellation.
  const double left1 = -std::expm1(t * adam.log_beta1), left2 = -std::expm1(t * adam.log_beta2);
  return {static_cast<scalar_t>(adam.learning_rate * std::sqrt(left2) / left1),
          static_cast<scalar_t>(adam.epsilon * std::sqrt(left2))};
}

template GloveAdamStep<float> glove_adam_step(const GloveAdam<float>&, double);
template GloveAdamStep<double> glove_adam_step(const GloveAdam<double>&, double);

namespace {

template <typename scalar_t>
GloveAdam<scalar_t> describe_adam(const GloveTrainParams<scalar_t>& params,
                                  std::vector<GloveAdamStep<scalar_t>>& steps) {
  GloveAdam<scalar_t> adam{};
  if (params.optimizer != GloveOptimizer::kAdam) return adam;
  adam.log_beta1 = std::log(params.beta1);
  adam.log_beta2 = std::log(params.beta2);
  adam.learning_rate = params.learning_rate;
  adam.epsilon = params.epsilon;
  const double vanished = 54 * std::log(0.5) / std::max(adam.log_beta1, adam.log_beta2);
  adam.settled = static_cast<int64_t>(std::min(std::ceil(vanished), 0x1p62)) + 1;
  steps.resize(adam.kSteps);
  for (int64_t t = 1; t <= adam.kSteps; ++t) {
    steps[t - 1] = glove_adam_step(adam, static_cast<double>(t));
  }
  adam.steps = steps.data();
  return adam;
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  void run(const GloveTrainParams<scalar_t>& params, Tensor& stats, int64_t first_round,
           int64_t last_round, bool /*deterministic*/, int64_t threads) const {
    GloveTileFunction<scalar_t>* kernel;
    if constexpr (std::is_same_v<scalar_t, float>) {
      kernel = LEXFORGE_CHOOSE(glove_train_tile);
    } else {
      kernel = baseline::glove_train_tile_double;
    }
    const GloveTiles& tiles = params.tiles;
    std::vector<GloveAdamStep<scalar_t>> steps;
    const GloveAdam<scalar_t> adam = describe_adam(params, steps);
    std::vector<double> cost(static_cast<size_t>(tiles.parts));
    std::atomic<bool> valid{true};
    double* sums = data<double>(stats);
    for (int64_t round = first_round; round < last_round; ++round) {
      std::atomic<int64_t> next{0};
      parallel_for(0, threads, 1, [&](int64_t, int64_t) {
        for (int64_t p; valid && (p = next.fetch_add(1)) < tiles.parts;) {
          if (!kernel(params, adam, p * tiles.parts + round, &cost[p])) valid = false;
        }
      });
      if (!valid) {
        fail("glove_train_: tiles must have rows and columns in [0, ", params.vocab_size,
             ") and begins that rise within their arrays");
      }
      for (int64_t p = 0; p < tiles.parts; ++p) {
        const int64_t tile = p * tiles.parts + round;
        sums[0] += cost[p];
        sums[1] += static_cast<double>(tiles.segment_begin[tiles.tile_begin[tile + 1]] -
                                       tiles.segment_begin[tiles.tile_begin[tile]]);
      }
    }
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("glove_train_", TORCH_BOX(&lexforge::glove_train<lexforge::Cpu>));
}
