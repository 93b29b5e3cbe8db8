// CPU kernels of adam_step.h: one body, compiled per instruction set.
#include "optimizer/adam_step.h"
// The instruction set applies from here on.
#include "common/simd.h"
// Needs simd.h.
#include "common/bfloat16.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {

float adam_squares(const float* gradient, int64_t count) {
  using V = RowValues<float>;
  using L = V::lanes;
  L::reg sums[4] = {L::zero(), L::zero(), L::zero(), L::zero()};
  int64_t i = 0;
  for (; i + 4 * L::kWidth <= count; i += 4 * L::kWidth) {
    for (int64_t k = 0; k < 4; ++k) {
      const L::reg g = L::load_any(gradient + i + k * L::kWidth);
      sums[k] = L::fma(g, g, sums[k]);
    }
  }
  for (; i < count; i += L::kWidth) {
    const L::reg g = V::load(gradient + i, count - i);
    sums[0] = L::fma(g, g, sums[0]);
  }
  return L::sum(L::add(L::add(sums[0], sums[1]), L::add(sums[2], sums[3])));
}

void adam_step(const AdamPart& part, const AdamFactors& factors) {
  using V = RowValues<float>;
  using L = V::lanes;
  using reg = L::reg;
  const reg scale = L::broadcast(factors.scale), keep = L::broadcast(part.keep);
  const reg decay = L::broadcast(part.decay), rate = L::broadcast(part.rate);
  const reg epsilon = L::broadcast(part.epsilon);
  const reg beta1 = L::broadcast(factors.beta1), fresh1 = L::broadcast(factors.fresh1);
  const reg beta2 = L::broadcast(factors.beta2), fresh2 = L::broadcast(factors.fresh2);
  const bool scaled = factors.scale != 1;  // or NaN
  for (int64_t i = 0; i < part.count; i += L::kWidth) {
    const int64_t n = part.count - i;
    const reg p = V::load(part.parameter + i, n);
    reg g = V::load(part.gradient + i, n);
    if (scaled) {
      g = L::mul(scale, g);
      V::store(part.gradient + i, g, n);
    }
    g = L::fma(decay, p, g);
    const reg m = L::fma(fresh1, g, L::mul(beta1, V::load(part.first + i, n)));
    const reg v = L::fma(L::mul(fresh2, g), g, L::mul(beta2, V::load(part.second + i, n)));
    V::store(part.first + i, m, n);
    V::store(part.second + i, v, n);
    V::store(part.parameter + i, L::fnma(rate, over_root<L>(m, v, epsilon), L::mul(keep, p)), n);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
