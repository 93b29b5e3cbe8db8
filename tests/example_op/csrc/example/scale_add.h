// The contract of lexforge::scale_add_, the op that CONTRIBUTING.md's five steps are tested with.
//
//   y[i] += a x[i]        y, x: float32 [N]
//
// in place, rounded once (a fused multiply-add) or twice, as the instruction set has it. x is not
// y. An element is written by one thread. N may be 0.
#pragma once

#include <cstdint>

namespace lexforge {

struct ScaleAddParams {
  float* y;        // [N]
  const float* x;  // [N]
  float a;
  int64_t count;  // N
};

// CPU: a range of elements.
#define LEXFORGE_DECLARE_SCALE_ADD(isa)                               \
  namespace isa {                                                     \
  void scale_add(const ScaleAddParams&, int64_t first, int64_t last); \
  }
LEXFORGE_DECLARE_SCALE_ADD(baseline)
LEXFORGE_DECLARE_SCALE_ADD(avx2)
LEXFORGE_DECLARE_SCALE_ADD(avx512)
#undef LEXFORGE_DECLARE_SCALE_ADD

// CUDA.
void launch_scale_add(const ScaleAddParams& params, void* stream);

}  // namespace lexforge
