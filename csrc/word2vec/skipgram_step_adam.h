// The values of one step of Adam and of the steps that rows have pending (skipgram_step.h).
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "word2vec/skipgram_step.h"

namespace lexforge {

struct AdamSettings {
  SkipgramOptimizer optimizer;  // kAdam or kLazyAdam
  double lr, beta1, beta2, epsilon;
};

// (q_t, eps_t) of step t lies at history[2 * (t % kMaxPending)]: the settings may change from step
// to step.
inline void record_adam_step(double* history, const AdamSettings& settings, int64_t step) {
  const double correction1 = 1 - std::pow(settings.beta1, static_cast<double>(step));
  const double correction2 = std::sqrt(1 - std::pow(settings.beta2, static_cast<double>(step)));
  double* entry = history + 2 * (step % kMaxPending);
  entry[0] = settings.lr * correction2 / correction1;
  entry[1] = settings.epsilon * correction2;
}

// Describes the steps that are pending after `done` steps.
inline void describe_pending(AdamStep& adam, const double* history, const AdamSettings& settings,
                             int64_t done) {
  double decay1 = 1, decay2 = 1;
  for (int64_t k = 0; k < kMaxPending + 2; ++k) {
    adam.decay1[k] = static_cast<float>(decay1);
    adam.decay2[k] = static_cast<float>(decay2);
    decay1 *= settings.beta1;
    decay2 *= settings.beta2;
  }
  const double inverse = 1 / std::sqrt(settings.beta2), ratio = settings.beta1 * inverse;
  // Sums of w_j, w_j e_j and w_j e_j^2, from the newest step backwards.
  double sum0 = 0, sum1 = 0, sum2 = 0;
  adam.pending_size[0] = adam.pending_epsilon[0] = adam.pending_limit[0] = 0;
  for (int64_t k = 1; k <= kMaxPending; ++k) {
    const int64_t step = done + 1 - k;
    const double* entry = history + 2 * (((step % kMaxPending) + kMaxPending) % kMaxPending);
    const double size = step > 0 ? entry[0] : 0, epsilon = step > 0 ? entry[1] : 0;
    adam.past_size[k - 1] = static_cast<float>(size);
    adam.past_epsilon[k - 1] = static_cast<float>(epsilon);
    sum0 = ratio * (size + sum0);
    sum1 = ratio * inverse * (size * epsilon + sum1);
    sum2 = ratio * inverse * inverse * (size * epsilon * epsilon + sum2);
    const double mean = sum0 > 0 ? sum1 / sum0 : settings.epsilon;
    const double variance = sum0 > 0 ? sum2 / sum0 - mean * mean : 0;
    adam.pending_size[k] = static_cast<float>(sum0);
    adam.pending_epsilon[k] = static_cast<float>(mean);
    // The difference of the sums has a rounding error of its own.
    const double limit = 16777216.0 * (std::fmax(variance, 0) + 1e-14 * mean * mean);
    adam.pending_limit[k] =
        std::isfinite(limit) ? static_cast<float>(limit) : std::numeric_limits<float>::infinity();
  }
}

// Describes step `step` and records it.
inline void begin_adam_step(AdamStep& adam, double* history, const AdamSettings& settings,
                            int64_t step) {
  if (settings.optimizer == SkipgramOptimizer::kAdam) {
    describe_pending(adam, history, settings, step - 1);
  } else {
    adam.decay1[1] = static_cast<float>(settings.beta1);
    adam.decay2[1] = static_cast<float>(settings.beta2);
  }
  adam.fresh1 = static_cast<float>(1 - settings.beta1);
  adam.fresh2 = static_cast<float>(1 - settings.beta2);
  record_adam_step(history, settings, step);
  const double* entry = history + 2 * (step % kMaxPending);
  adam.step_size = static_cast<float>(entry[0]);
  adam.epsilon = static_cast<float>(
      settings.optimizer == SkipgramOptimizer::kAdam ? entry[1] : settings.epsilon);
}

}  // namespace lexforge
