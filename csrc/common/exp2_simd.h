// 2^x on vector lanes. Included by kernel bodies after common/simd.h.
#pragma once

namespace lexforge::LEXFORGE_ISA {

// exp(x) = exp2(kLog2E x).
constexpr double kLog2E = 1.4426950408889634;

// 2^x, measured against double within relative 2.5e-7 over [-126, 127]; 0 below, NaN stays.
template <typename L>
LEXFORGE_INLINE typename L::reg exp2(typename L::reg x) {
  using reg = typename L::reg;
  const reg bound = L::broadcast(-126.0f);
  const reg y = L::max(bound, x);  // in this order NaN stays
  const reg n = L::round(y);
  const reg r = L::sub(y, n);
  reg p = L::broadcast(1.3276472e-3f);
  p = L::fma(p, r, L::broadcast(9.6755410e-3f));
  p = L::fma(p, r, L::broadcast(5.5507131e-2f));
  p = L::fma(p, r, L::broadcast(2.4022120e-1f));
  p = L::fma(p, r, L::broadcast(6.9314694e-1f));
  p = L::fma(p, r, L::broadcast(1.0f));
  return L::select_negative(L::sub(x, bound), L::zero(), L::mul(p, L::power_of_two(n)));
}
template <>
LEXFORGE_INLINE double exp2<ScalarLanes<double>>(double x) {
  return __builtin_exp2(x);
}
#if defined(LEXFORGE_ISA_AVX512)
// The fraction above the next whole number below, and a scaling by that number that underflows by
// itself, through denormals: within relative 1.5e-7.
template <>
LEXFORGE_INLINE __m512 exp2<Float16>(__m512 x) {
  using L = Float16;
  const __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = L::broadcast(1.8775767e-3f);
  p = L::fma(p, r, L::broadcast(8.9893397e-3f));
  p = L::fma(p, r, L::broadcast(5.5826318e-2f));
  p = L::fma(p, r, L::broadcast(2.4015361e-1f));
  p = L::fma(p, r, L::broadcast(6.9315308e-1f));
  p = L::fma(p, r, L::broadcast(0.99999994f));
  return _mm512_scalef_ps(p, x);
}
#endif

}  // namespace lexforge::LEXFORGE_ISA
