// CPU kernel of scale_add.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/example/scale_add.py.
#include "example/scale_add.h"
// The instruction set applies from here on.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {

void scale_add(const ScaleAddParams& params, int64_t first, int64_t last) {
  using L = FloatLanes;
  const auto a = L::broadcast(params.a);
  for (int64_t i = first; i < last; i += L::kWidth) {
    const int64_t n = last - i;
    const auto y = L::load_first(params.y + i, n), x = L::load_first(params.x + i, n);
    L::store_first(params.y + i, L::fma(a, x, y), n);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
