// A step of Adam or AdamW on all parameters of a network: the contract of lexforge::adam_step_. CPU
// only; a GPU has torch's.
//
// With g the gradients, in groups of tensors that lie anywhere, and t the step of a parameter, which
// goes up by one first (Kingma and Ba 2015; Loshchilov and Hutter 2019):
//
//   c = min(1, clip / (|g| + 1e-6)), |g| the norm of all gradients together; 1 without clip
//   g = c g, in place
//   adam    g' = g + decay p            adamw   g' = g;  p = p - lr decay p
//   m = beta1 m + (1 - beta1) g'        v = beta2 v + (1 - beta2) g' g'
//   p = p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)
//
// All is float32 but the sum over the norm's parts, which is double: a part is kAdamPart numbers of
// a tensor, and parts are added in order, so the bits are the same for any number of threads. In the
// step, numbers below the smallest normal one count as 0. A NaN among the gradients makes c NaN, and
// with it everything. No two of the tensors share memory.
#pragma once

#include <cstdint>

namespace lexforge {

constexpr int64_t kAdamPart = 8192;

// A part of one tensor of each kind.
struct AdamPart {
  float *parameter, *gradient, *first, *second;  // p, g, m, v
  int64_t count;
  // Of this step, with all corrections: p = keep p - rate m / (sqrt(v) + epsilon), g' = scale g +
  // decay p.
  float keep, decay, rate, epsilon;
};

struct AdamFactors {
  float scale, beta1, fresh1, beta2, fresh2;  // fresh = 1 - beta
};

#define LEXFORGE_DECLARE_ADAM_STEP(isa)                     \
  namespace isa {                                           \
  float adam_squares(const float* gradient, int64_t count); \
  void adam_step(const AdamPart&, const AdamFactors&);      \
  }
LEXFORGE_DECLARE_ADAM_STEP(baseline)
LEXFORGE_DECLARE_ADAM_STEP(avx2)
LEXFORGE_DECLARE_ADAM_STEP(avx512)
#undef LEXFORGE_DECLARE_ADAM_STEP

}  // namespace lexforge
