// CPU kernels of bias_activation.h: one body, compiled per instruction set.
#include <cmath>
#include <cstdint>

#include "transformer/bias_activation.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {

// ---- Activations -------------------------------------------------------------------------------
// value(z), and slope(z, g) = f'(z) g.

constexpr double kRootHalf = 0.70710678118654752;       // 1 / sqrt 2
constexpr double kDensityAtZero = 0.39894228040143268;  // 1 / sqrt(2 pi)

struct Gelu {
  // Phi(z) and exp(-z^2 / 2), for z in [-kFar, kFar].
  //
  // Phi(-t) = exp(-t^2 / 2) y P(y) for t >= 0, with y = 3 / (t + 3) and P a minimax polynomial on
  // t <= 13.2 (relative error 4e-8 in exact arithmetic, 4e-7 with float32 rounding); beyond 13 it
  // counts as 0. gelu is then within 4e-7 max(1, |z|) of its value, a third of the error of the
  // formula with 1 + erf, and relatively accurate far into the negative.
  static constexpr float kFar = 14.0f;
  template <typename L>
  static LEXFORGE_INLINE typename L::reg probability(typename L::reg z, typename L::reg& e) {
    const auto t = FloatNumerics<L>::absolute(z);
    const auto three = L::broadcast(3.0f);
    const auto exponential = Numerics<L>::exp(L::mul(L::mul(t, t), L::broadcast(-0.5f)));
    e = L::select_negative(L::sub(t, L::broadcast(13.0f)), exponential, L::zero());
    const auto y = L::div(three, L::add(t, three));
    auto p = L::broadcast(-2.32955646e-2f);
    p = L::fma(p, y, L::broadcast(1.32121295e-1f));
    p = L::fma(p, y, L::broadcast(-2.76365697e-1f));
    p = L::fma(p, y, L::broadcast(2.24605978e-1f));
    p = L::fma(p, y, L::broadcast(-5.71465269e-2f));
    p = L::fma(p, y, L::broadcast(1.21463917e-1f));
    p = L::fma(p, y, L::broadcast(1.12038814e-1f));
    p = L::fma(p, y, L::broadcast(1.33625731e-1f));
    p = L::fma(p, y, L::broadcast(1.32952064e-1f));
    const auto tail = L::mul(e, L::mul(y, p));
    return L::select_negative(z, tail, L::sub(L::broadcast(1.0f), tail));
  }

  template <typename L>
  static LEXFORGE_INLINE typename L::reg value(typename L::reg z) {
    typename L::reg e;
    const auto near = L::max(L::broadcast(-kFar), z);  // in this order NaN stays
    return L::mul(near, probability<L>(near, e));
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg slope(typename L::reg z, typename L::reg g) {
    typename L::reg e;
    const auto near = L::min(L::broadcast(kFar), L::max(L::broadcast(-kFar), z));
    const auto p = probability<L>(near, e);
    const auto density = L::mul(e, L::broadcast(static_cast<float>(kDensityAtZero)));
    return L::mul(L::fma(near, density, p), g);
  }
};
template <>
LEXFORGE_INLINE double Gelu::value<ScalarLanes<double>>(double z) {
  return z < -40 ? -0.0 : z * 0.5 * std::erfc(-z * kRootHalf);
}
template <>
LEXFORGE_INLINE double Gelu::slope<ScalarLanes<double>>(double z, double g) {
  const double near = z < -40 ? -40 : z > 40 ? 40 : z;
  return (0.5 * std::erfc(-near * kRootHalf) +
          near * kDensityAtZero * std::exp(-0.5 * near * near)) *
         g;
}

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
  // m = exp(-2 |z|) - 1, relatively accurate: tanh |z| = -m / (2 + m), tanh' = 4 (1 + m) / (2 +
  // m)^2.
  template <typename L>
  static LEXFORGE_INLINE typename L::reg exp_minus_one(typename L::reg z) {
    using reg = typename L::reg;
    const reg one = L::broadcast(1.0f);
    // exp(-2 |z|) is less than half a rounding of 1 from 10 on. In this order NaN stays.
    const reg x =
        L::max(L::broadcast(-20.0f), L::mul(L::broadcast(-2.0f), FloatNumerics<L>::absolute(z)));
    const reg n = L::round(L::mul(x, L::broadcast(1.44269504f)));
    reg r = L::fnma(n, L::broadcast(0.693359375f), x);
    r = L::fnma(n, L::broadcast(-2.12194440e-4f), r);
    reg p = L::broadcast(1.9841270e-4f);
    p = L::fma(p, r, L::broadcast(1.3888889e-3f));
    p = L::fma(p, r, L::broadcast(8.3333333e-3f));
    p = L::fma(p, r, L::broadcast(4.1666667e-2f));
    p = L::fma(p, r, L::broadcast(1.6666667e-1f));
    p = L::fma(p, r, L::broadcast(0.5f));
    p = L::fma(L::mul(p, r), r, r);
    const reg power = L::power_of_two(n);
    return L::fma(p, power, L::sub(power, one));
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg value(typename L::reg z) {
    const auto m = exp_minus_one<L>(z);
    const auto y = L::div(m, L::add(L::broadcast(2.0f), m));
    return L::select_negative(z, y, L::sub(L::zero(), y));
  }
  template <typename L>
  static LEXFORGE_INLINE typename L::reg slope(typename L::reg z, typename L::reg g) {
    const auto m = exp_minus_one<L>(z);
    const auto half = L::div(L::broadcast(2.0f), L::add(L::broadcast(2.0f), m));
    return L::mul(L::mul(L::mul(half, half), L::add(L::broadcast(1.0f), m)), g);
  }
};
template <>
LEXFORGE_INLINE double Tanh::value<ScalarLanes<double>>(double z) {
  return std::tanh(z);
}
template <>
LEXFORGE_INLINE double Tanh::slope<ScalarLanes<double>>(double z, double g) {
  const double y = std::tanh(z);
  return (1 - y) * (1 + y) * g;
}

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

template <typename F, typename scalar_t, typename stat_t>
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
      return activate_rows<Gelu>(params, first_row, last);
    case Activation::kRelu:
      return activate_rows<Relu>(params, first_row, last);
    case Activation::kTanh:
      return activate_rows<Tanh>(params, first_row, last);
  }
}

template <typename scalar_t, typename stat_t>
void bias_activation_backward(const BiasActivationBackwardParams<scalar_t, stat_t>& params,
                              int64_t first_group, int64_t last) {
  switch (params.activation) {
    case Activation::kGelu:
      return activate_groups<Gelu>(params, first_group, last);
    case Activation::kRelu:
      return activate_groups<Relu>(params, first_group, last);
    case Activation::kTanh:
      return activate_groups<Tanh>(params, first_group, last);
  }
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
