// GELU in float32: what the CPU and the CUDA kernels of bias_activation.h share.
//
// With t = |z|, y = 1 / (t + c) and P a minimax polynomial for t <= 13.2,
//
//   Phi(-t) = exp(-t^2 / 2) y P(y)
//
// so that z Phi(z) = max(z, 0) - t Phi(-t) keeps its relative accuracy far into the negative, where
// 1 + erf cancels. The slope Phi(z) + z phi(z) takes the same exponential:
//
//   f'(-t) = exp(-t^2 / 2) (y P(y) - t / sqrt(2 pi)),    f'(t) = 1 - f'(-t)
//
// kBrief is for results that are rounded to bfloat16, whose relative precision is 2e-3.
//
// Bounds that tests/transformer/gelu.cpp holds gelu and gelu_slope to, against float64. What grows
// with t^2 is the rounding of the exponential's argument.
//
//                                     full               brief
//   P, relative                       8e-8               5e-5
//   z Phi(z), relative, z >= -12.5    5e-7 + 1e-7 t^2    6e-5 + 1e-7 t^2
//   slope, absolute                   3e-7               4e-5
//
// Where z < -12.5, results are denormal or 0, and off by less than 1e-37. ex2.approx and rcp.approx
// of the device, within two units in the last place and one, add 5e-7 to the relative bounds.
#pragma once

#include <cmath>

#include "common/host_device.h"

namespace lexforge {

// exp(-t^2 / 2) = 2^(-kHalfLog2E t^2): below 2^-126 from t = 13.22 on, and 0 in float32 at
// kGeluFar.
constexpr float kGeluFar = 15.0f;
constexpr float kHalfLog2E = 0.72134752f;
constexpr float kDensityAtZero = 0.39894228f;  // 1 / sqrt(2 pi)

template <bool kBrief>
struct GaussianTail {
  static constexpr float kOffset = kBrief ? 4.0f : 3.0f;  // c
  static constexpr int kTerms = kBrief ? 5 : 9;           // of P

  // That of y^(kTerms - 1 - i).
  LEXFORGE_HOST_DEVICE static constexpr float coefficient(int i) {
    constexpr float kFull[] = {-458.526306f, 866.847351f, -604.411499f, 163.737656f, -13.8865862f,
                               9.83857441f,  3.02504826f, 1.20263159f,  0.398856193f};
    constexpr float kShort[] = {247.527878f, -26.6734886f, 11.5626917f, 1.28671002f, 0.40544489f};
    return kBrief ? kShort[i] : kFull[i];
  }

  // y P(y).
  LEXFORGE_HOST_DEVICE static float ratio(float y) {
    float p = coefficient(0);
    for (int i = 1; i < kTerms; ++i) p = fmaf(p, y, coefficient(i));
    return y * p;
  }
};

// The approximation by tanh: S(2 u) = 1 / (1 + 2^(z (kGeluTanhLinear + kGeluTanhCubic z^2))), which
// is 2^-127.3 at -kGeluTanhFar, and 1 in float32 at kGeluTanhFar.
constexpr double kRootTwoOverPi = 0.79788456080286536, kGeluCubic = 0.044715;
constexpr float kGeluTanhLinear = -2.3022082f;  // -2 sqrt(2 / pi) log2(e)
constexpr float kGeluTanhCubic = kGeluTanhLinear * 0.044715f;
constexpr float kGeluTanhFar = 10.04f;

// 2^x, 0 below 2^-126, and 1 / x: one instruction each on the device, rounded exactly elsewhere.
LEXFORGE_HOST_DEVICE float exp2_or_zero(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
#endif
}
LEXFORGE_HOST_DEVICE float reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

// Of t = |z|, at most kGeluFar, where all limits are reached: infinity times 0 would be NaN. NaN
// stays.
template <bool kBrief>
struct GaussianParts {
  float t, exponential, ratio;  // exp(-t^2 / 2), Phi(-t) over it

  LEXFORGE_HOST_DEVICE explicit GaussianParts(float z) {
    using Tail = GaussianTail<kBrief>;
    t = fabsf(z);
    t = t > kGeluFar ? kGeluFar : t;
    exponential = exp2_or_zero(t * t * -kHalfLog2E);
    ratio = Tail::ratio(reciprocal(t + Tail::kOffset));
  }
};

template <bool kBrief>
LEXFORGE_HOST_DEVICE float gelu(float z) {
  const GaussianParts<kBrief> parts(z);
  return fmaf(-parts.t, parts.exponential * parts.ratio, z < 0 ? 0.0f : z);
}

template <bool kBrief>
LEXFORGE_HOST_DEVICE float gelu_slope(float z) {
  const GaussianParts<kBrief> parts(z);
  const float below = parts.exponential * fmaf(-parts.t, kDensityAtZero, parts.ratio);
  return z < 0 ? below : 1.0f - below;
}

LEXFORGE_HOST_DEVICE float gelu_tanh_power(float z) {
  return exp2_or_zero(z * fmaf(z * z, kGeluTanhCubic, kGeluTanhLinear));
}
LEXFORGE_HOST_DEVICE float gelu_tanh_near(float z) {  // NaN stays
  return z < -kGeluTanhFar ? -kGeluTanhFar : z > kGeluTanhFar ? kGeluTanhFar : z;
}

LEXFORGE_HOST_DEVICE float gelu_tanh(float z) {
  const float near = gelu_tanh_near(z);
  return (z < 0 ? near : z) * reciprocal(1.0f + gelu_tanh_power(near));
}

LEXFORGE_HOST_DEVICE float gelu_tanh_slope(float z) {
  constexpr auto kLinear = static_cast<float>(2 * kRootTwoOverPi);
  constexpr auto kSquare = static_cast<float>(6 * kRootTwoOverPi * kGeluCubic);
  const float near = gelu_tanh_near(z), e = gelu_tanh_power(near), share = reciprocal(1.0f + e);
  return fmaf(share, near * fmaf(near * near, kSquare, kLinear) * (e * share), share);
}

}  // namespace lexforge
