// CPU kernels of bias_activation.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/transformer/bias_activation.py.
#include <cmath>
#include <cstdint>

#include "transformer/bias_activation.h"
#include "transformer/gelu.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/exp2_simd.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {

// ---- Activations -------------------------------------------------------------------------------
// value(z), and slope(z, g) = f'(z) g.

constexpr double kRootHalf = 0.70710678118654752;         // 1 / sqrt 2
constexpr double kDensityAtZero64 = 0.39894228040143268;  // 1 / sqrt(2 pi)

// 1 / d within relative 4e-4, and within two roundings. On x86 an estimate spares the divider.
template <typename L>
LEXFORGE_INLINE typename L::reg reciprocal_estimate(typename L::reg d) {
#if defined(LEXFORGE_ISA_AVX512)
  return _mm512_rcp14_ps(d);
#elif defined(LEXFORGE_ISA_AVX2)
  return _mm256_rcp_ps(d);
#else
  return L::div(L::broadcast(1.0f), d);
#endif
}
template <typename L>
LEXFORGE_INLINE typename L::reg reciprocal(typename L::reg d) {
  const auto y = reciprocal_estimate<L>(d);
#if defined(LEXFORGE_ISA_AVX512) || defined(LEXFORGE_ISA_AVX2)
  return L::mul(y, L::fnma(d, y, L::broadcast(2.0f)));  // a Newton step
#else
  return y;
#endif
}

// kBrief is for results that are rounded to bfloat16 (gelu.h).
template <typename scalar_t>
constexpr bool kBrief = sizeof(scalar_t) == sizeof(Bfloat16);

template <typename L, bool kShort>
LEXFORGE_INLINE typename L::reg ratio_at(typename L::reg y) {
  using Tail = GaussianTail<kShort>;
  auto p = L::broadcast(Tail::coefficient(0));
#pragma GCC unroll 8
  for (int i = 1; i < Tail::kTerms; ++i) p = L::fma(p, y, L::broadcast(Tail::coefficient(i)));
  return L::mul(y, p);
}

// exp(-t^2 / 2), and Phi(-t) over it, for 0 <= t <= kFar.
template <bool kShort>
struct TailLanes {
  static constexpr float kFar = kGeluFar;
  template <typename L>
  static LEXFORGE_INLINE typename L::reg exponential(typename L::reg t) {
    return exp2<L>(L::mul(L::mul(t, t), L::broadcast(-kHalfLog2E)));
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg ratio(typename L::reg t) {
    return ratio_at<L, false>(reciprocal<L>(L::add(t, L::broadcast(GaussianTail<false>::kOffset))));
  }
};
template <>
struct TailLanes<true> {
  // 2^x within relative 8e-5.
  static constexpr float kFar = 13.2f;  // the power of two below is at least 2^-126
  template <typename L>
  static LEXFORGE_INLINE typename L::reg exponential(typename L::reg t) {
    const auto x = L::mul(L::mul(t, t), L::broadcast(-kHalfLog2E));
    const auto n = L::round(x), r = L::sub(x, n);
    auto p = L::broadcast(5.51716648e-2f);
    p = L::fma(p, r, L::broadcast(2.42611125e-1f));
    p = L::fma(p, r, L::broadcast(6.93260968e-1f));
    p = L::fma(p, r, L::broadcast(9.99928057e-1f));
    return L::mul(p, L::power_of_two(n));
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg ratio(typename L::reg t) {
    return ratio_at<L, true>(
        reciprocal_estimate<L>(L::add(t, L::broadcast(GaussianTail<true>::kOffset))));
  }
};

template <bool kShort>
struct Gelu {
  using Tail = TailLanes<kShort>;

  // Phi(z), and e = exp(-z^2 / 2).
  template <typename L>
  static LEXFORGE_INLINE typename L::reg probability(typename L::reg z, typename L::reg& e) {
    const auto t = L::min(L::broadcast(Tail::kFar), FloatNumerics<L>::absolute(z));  // NaN stays
    e = Tail::template exponential<L>(t);
    const auto tail = L::mul(e, Tail::template ratio<L>(t));
    return L::select_negative(z, tail, L::sub(L::broadcast(1.0f), tail));
  }

  template <typename L>
  static LEXFORGE_INLINE typename L::reg value(typename L::reg z) {
    if constexpr (L::kWidth == 1) {
      return z < -40 ? -0.0 : z * 0.5 * std::erfc(-z * kRootHalf);
    } else {
      typename L::reg e;
      // In this order NaN stays; -infinity times 0 would become NaN.
      return L::mul(L::max(L::broadcast(-Tail::kFar), z), probability<L>(z, e));
    }
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg slope(typename L::reg z, typename L::reg g) {
    if constexpr (L::kWidth == 1) {
      const double near = z < -40 ? -40 : z > 40 ? 40 : z;
      const double density = kDensityAtZero64 * std::exp(-0.5 * near * near);
      return (0.5 * std::erfc(-near * kRootHalf) + near * density) * g;
    } else {
      typename L::reg e;
      const auto p = probability<L>(z, e);
      const auto far = L::broadcast(Tail::kFar);
      const auto near = L::min(far, L::max(L::sub(L::zero(), far), z));
      const auto density = L::mul(e, L::broadcast(kDensityAtZero));
      return L::mul(L::fma(near, density, p), g);
    }
  }
};

// gelu.h's approximation by tanh.
struct GeluTanh {
  // S(2 u) and 1 - S(2 u).
  template <typename L>
  static LEXFORGE_INLINE typename L::reg share(typename L::reg z, typename L::reg& rest) {
    if constexpr (L::kWidth == 1) {
      const double e = std::exp(-2 * kRootTwoOverPi * z * (1 + kGeluCubic * z * z));
      rest = e / (1 + e);
      return 1 / (1 + e);
    } else {
      const auto linear = L::broadcast(kGeluTanhLinear), cubic = L::broadcast(kGeluTanhCubic);
      const auto e = exp2<L>(L::mul(z, L::fma(L::mul(z, z), cubic, linear)));
      const auto s = reciprocal<L>(L::add(e, L::broadcast(1.0f)));
      rest = L::mul(e, s);
      return s;
    }
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg near(typename L::reg z) {  // NaN stays
    const auto far = L::broadcast(kGeluTanhFar);
    return L::min(far, L::max(L::sub(L::zero(), far), z));
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg value(typename L::reg z) {
    typename L::reg rest;
    // In this order NaN stays; -infinity times 0 would become NaN.
    return L::mul(L::max(L::broadcast(-kGeluTanhFar), z), share<L>(near<L>(z), rest));
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg slope(typename L::reg z, typename L::reg g) {
    using scalar = typename L::scalar;
    typename L::reg rest;
    const auto x = near<L>(z), s = share<L>(x, rest);
    // S + x S (1 - S) (2 u)'.
    const auto steep =
        L::fma(L::mul(x, x), L::broadcast(static_cast<scalar>(6 * kRootTwoOverPi * kGeluCubic)),
               L::broadcast(static_cast<scalar>(2 * kRootTwoOverPi)));
    return L::mul(L::fma(s, L::mul(L::mul(x, steep), rest), s), g);
  }
};

struct Relu {
  template <typename L>
  static LEXFORGE_INLINE typename L::reg value(typename L::reg z) {
    return L::max(L::zero(), z);  // in this order NaN stays
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg slope(typename L::reg z, typename L::reg g) {
    return L::select_negative(L::sub(L::zero(), z), g, L::zero());
  }
};

struct Tanh {
  // A minimax polynomial near 0 (relative error 4e-9 in exact arithmetic), q = 1 - tanh |z| =
  // 2 / (exp(2 |z|) + 1) elsewhere; either within two roundings.
  static constexpr float kNear = 0.625f;
  template <typename L>
  static LEXFORGE_INLINE typename L::reg complement(typename L::reg t) {
    const auto e = Numerics<L>::exp(L::mul(L::broadcast(2.0f), t));
    return L::div(L::broadcast(2.0f), L::add(e, L::broadcast(1.0f)));
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg near(typename L::reg z) {
    const auto s = L::mul(z, z);
    auto p = L::broadcast(-5.70498407e-3f);
    p = L::fma(p, s, L::broadcast(2.06390843e-2f));
    p = L::fma(p, s, L::broadcast(-5.37397154e-2f));
    p = L::fma(p, s, L::broadcast(1.33314416e-1f));
    p = L::fma(p, s, L::broadcast(-3.33332807e-1f));
    return L::fma(L::mul(p, s), z, z);
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg value(typename L::reg z) {
    if constexpr (L::kWidth == 1) {
      return std::tanh(z);
    } else {
      const auto t = FloatNumerics<L>::absolute(z);
      const auto y = L::sub(L::broadcast(1.0f), complement<L>(t));
      return L::select_negative(L::sub(t, L::broadcast(kNear)), near<L>(z),
                                L::select_negative(z, L::sub(L::zero(), y), y));
    }
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg slope(typename L::reg z, typename L::reg g) {
    if constexpr (L::kWidth == 1) {
      const double y = std::tanh(z);
      return (1 - y) * (1 + y) * g;
    } else {
      const auto t = FloatNumerics<L>::absolute(z);
      const auto y = near<L>(z), q = complement<L>(t);
      const auto slope =
          L::select_negative(L::sub(t, L::broadcast(kNear)), L::fnma(y, y, L::broadcast(1.0f)),
                             L::mul(q, L::sub(L::broadcast(2.0f), q)));
      return L::mul(slope, g);
    }
  }
};

// ---- Rows --------------------------------------------------------------------------------------

template <typename F, typename scalar_t, typename stat_t>
LEXFORGE_INLINE void activate_rows(const BiasActivationParams<scalar_t, stat_t>& params,
                                   int64_t first_row, int64_t last) {
  using V = RowValues<scalar_t>;
  using S = RowValues<stat_t>;
  using L = typename V::lanes;
  for (int64_t r = first_row; r < last; ++r) {
    const scalar_t* x = params.x + r * params.width;
    scalar_t* out = params.out + r * params.width;
    for (int64_t h = 0; h < params.width; h += L::kWidth) {
      const int64_t n = params.width - h;
      const auto z = L::add(V::load(x + h, n), S::load(params.bias + h, n));
      V::store(out + h, F::template value<L>(z), n);
    }
  }
}

// kOut: params.out is there.
template <typename F, bool kOut, typename scalar_t, typename stat_t>
LEXFORGE_INLINE void activate_groups(const BiasActivationBackwardParams<scalar_t, stat_t>& params,
                                     int64_t first_group, int64_t last) {
  using V = RowValues<scalar_t>;
  using S = RowValues<stat_t>;
  using L = typename V::lanes;
  const int64_t width = params.width;
  for (int64_t group = first_group; group < last; ++group) {
    stat_t* partial = params.partial + group * width;
    for (int64_t h = 0; h < width; ++h) partial[h] = 0;
    const int64_t end = (group + 1) * kBiasGroup;
    for (int64_t r = group * kBiasGroup; r < (end < params.rows ? end : params.rows); ++r) {
      const scalar_t *x = params.x + r * width, *g = params.grad_out + r * width;
      scalar_t* grad = params.grad_x + r * width;
      for (int64_t h = 0; h < width; h += L::kWidth) {
        const int64_t n = width - h;
        const auto z = L::add(V::load(x + h, n), S::load(params.bias + h, n));
        const auto slope = F::template slope<L>(z, V::load(g + h, n));
        if constexpr (kOut) V::store(params.out + r * width + h, F::template value<L>(z), n);
        V::store(grad + h, slope, n);
        S::store(partial + h, L::add(S::load(partial + h, n), slope), n);
      }
    }
  }
}

template <typename scalar_t, typename stat_t>
void bias_activation(const BiasActivationParams<scalar_t, stat_t>& params, int64_t first_row,
                     int64_t last) {
  switch (params.activation) {
    case Activation::kGelu:
      return activate_rows<Gelu<kBrief<scalar_t>>>(params, first_row, last);
    case Activation::kRelu:
      return activate_rows<Relu>(params, first_row, last);
    case Activation::kTanh:
      return activate_rows<Tanh>(params, first_row, last);
    case Activation::kGeluTanh:
      return activate_rows<GeluTanh>(params, first_row, last);
  }
}

template <bool kOut, typename scalar_t, typename stat_t>
LEXFORGE_INLINE void activate_backward(const BiasActivationBackwardParams<scalar_t, stat_t>& params,
                                       int64_t first_group, int64_t last) {
  switch (params.activation) {
    case Activation::kGelu:
      return activate_groups<Gelu<kBrief<scalar_t>>, kOut>(params, first_group, last);
    case Activation::kRelu:
      return activate_groups<Relu, kOut>(params, first_group, last);
    case Activation::kTanh:
      return activate_groups<Tanh, kOut>(params, first_group, last);
    case Activation::kGeluTanh:
      return activate_groups<GeluTanh, kOut>(params, first_group, last);
  }
}

template <typename scalar_t, typename stat_t>
void bias_activation_backward(const BiasActivationBackwardParams<scalar_t, stat_t>& params,
                              int64_t first_group, int64_t last) {
  if (params.out == nullptr) return activate_backward<false>(params, first_group, last);
  activate_backward<true>(params, first_group, last);
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                    \
  template void bias_activation(const BiasActivationParams<scalar_t, stat_t>&, int64_t, int64_t); \
  template void bias_activation_backward(const BiasActivationBackwardParams<scalar_t, stat_t>&,   \
                                         int64_t, int64_t);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
