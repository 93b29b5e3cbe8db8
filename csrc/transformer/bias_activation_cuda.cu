#include <cstdint>
#include <type_traits>

#include "transformer/bias_activation.h"
#include "transformer/row_octets.cuh"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

// A block has the rows of a group and kOctet columns of each of a warp's lanes, or one.
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
static_assert(kBiasGroup % kWarps == 0);

template <Activation kActivation>
struct Function;

template <>
struct Function<Activation::kGelu> {
  // Beyond it Phi is 0 or 1, and infinity times 0 would be NaN.
  template <typename T>
  static __device__ __forceinline__ T near(T z) {
    constexpr T kFar = sizeof(T) == sizeof(float) ? T(15) : T(40);
    return z < -kFar ? -kFar : z > kFar ? kFar : z;
  }
  template <typename T>
  static __device__ __forceinline__ T probability(T z) {
    return T(0.5) * erfc(z * T(-0.70710678118654752));
  }
  template <typename T>
  static __device__ __forceinline__ T value(T z) {
    return (z < 0 ? near(z) : z) * probability(near(z));
  }
  template <typename T>
  static __device__ __forceinline__ T slope(T z, T g) {
    const T x = near(z);
    const T density = exp(T(-0.5) * x * x) * T(0.39894228040143268);  // 1 / sqrt(2 pi)
    return (probability(x) + x * density) * g;
  }
};

template <>
struct Function<Activation::kRelu> {
  template <typename T>
  static __device__ __forceinline__ T value(T z) {
    return z < 0 ? T(0) : z;
  }
  template <typename T>
  static __device__ __forceinline__ T slope(T z, T g) {
    return z > 0 ? g : T(0);
  }
};

template <>
struct Function<Activation::kTanh> {
  template <typename T>
  static __device__ __forceinline__ T value(T z) {
    return tanh(z);
  }
  template <typename T>
  static __device__ __forceinline__ T slope(T z, T g) {
    const T y = tanh(z);
    return (1 - y) * (1 + y) * g;
  }
};

// The columns of one lane.
template <typename scalar_t, typename stat_t, bool kWide>
struct Columns {
  static constexpr int kCount = kWide ? kOctet : 1;
  stat_t value[kCount];

  __device__ __forceinline__ void load(const scalar_t* from) {
    if constexpr (kWide) {
      load_octet(from, value);
    } else {
      value[0] = number(*from);
    }
  }
  __device__ __forceinline__ void store(scalar_t* to) const {
    if constexpr (kWide) {
      store_octet(to, value);
    } else {
      store_number(to, value[0]);
    }
  }
};

// ---- kernels ------------------------------------------------------------------------------------

// Bound by memory: each number is read once and written once.
template <Activation kActivation, bool kWide, typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    bias_activation_kernel(BiasActivationParams<scalar_t, stat_t> params) {
  using Numbers = Columns<scalar_t, stat_t, kWide>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t column = (int64_t{blockIdx.y} * kWarp + lane) * Numbers::kCount;
  if (column >= params.width) return;
  Columns<stat_t, stat_t, kWide> bias;
  bias.load(params.bias + column);
  const int64_t first = int64_t{blockIdx.x} * kBiasGroup;
  const int64_t last = min(first + kBiasGroup, params.rows);
#pragma unroll 2
  for (int64_t row = first + threadIdx.x / kWarp; row < last; row += kWarps) {
    const int64_t index = row * params.width + column;
    Numbers x;
    x.load(params.x + index);
#pragma unroll
    for (int i = 0; i < Numbers::kCount; ++i) {
      x.value[i] = Function<kActivation>::value(x.value[i] + bias.value[i]);
    }
    x.store(params.out + index);
  }
}

// The block's warps add every kWarps-th row of the group, and these sums in order.
template <Activation kActivation, bool kWide, typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    bias_activation_backward_kernel(BiasActivationBackwardParams<scalar_t, stat_t> params) {
  using Numbers = Columns<scalar_t, stat_t, kWide>;
  __shared__ stat_t shared[kWarps][kWarp][Numbers::kCount];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t column = (int64_t{blockIdx.y} * kWarp + lane) * Numbers::kCount;
  const int64_t first = int64_t{blockIdx.x} * kBiasGroup;
  const int64_t last = min(first + kBiasGroup, params.rows);
  stat_t sum[Numbers::kCount] = {};
  if (column < params.width) {
    Columns<stat_t, stat_t, kWide> bias;
    bias.load(params.bias + column);
    for (int64_t row = first + warp; row < last; row += kWarps) {
      const int64_t index = row * params.width + column;
      Numbers x, g;
      x.load(params.x + index);
      g.load(params.grad_out + index);
#pragma unroll
      for (int i = 0; i < Numbers::kCount; ++i) {
        g.value[i] = Function<kActivation>::slope(x.value[i] + bias.value[i], g.value[i]);
        sum[i] += g.value[i];
      }
      g.store(params.grad_x + index);
    }
  }
  if (params.grad_bias == nullptr) return;
#pragma unroll
  for (int i = 0; i < Numbers::kCount; ++i) shared[warp][lane][i] = sum[i];
  __syncthreads();
  if (warp != 0 || column >= params.width) return;
#pragma unroll
  for (int i = 0; i < Numbers::kCount; ++i) {
#pragma unroll
    for (int w = 1; w < kWarps; ++w) sum[i] += shared[w][lane][i];
    params.partial[int64_t{blockIdx.x} * params.width + column + i] = sum[i];
  }
}

// ---- launchers ----------------------------------------------------------------------------------

template <bool kWide>
dim3 grid_of(int64_t rows, int64_t width) {
  return dim3(blocks_for(rows, kBiasGroup), blocks_for(width, kWarp * (kWide ? kOctet : 1)));
}

// start(activation, wide) with both known to the compiler.
template <typename stat_t, typename Start>
void with_constants(Activation activation, bool octets, const Start& start) {
  const auto with_width = [&](auto constant) {
    if constexpr (sizeof(stat_t) == sizeof(float)) {
      if (octets) return start(constant, std::true_type{});
    }
    start(constant, std::false_type{});
  };
  switch (activation) {
    case Activation::kGelu:
      return with_width(std::integral_constant<Activation, Activation::kGelu>{});
    case Activation::kRelu:
      return with_width(std::integral_constant<Activation, Activation::kRelu>{});
    case Activation::kTanh:
      return with_width(std::integral_constant<Activation, Activation::kTanh>{});
  }
}

}  // namespace

template <typename scalar_t, typename stat_t>
void launch_bias_activation(const BiasActivationParams<scalar_t, stat_t>& params, void* stream) {
  if (params.rows == 0 || params.width == 0) return;
  const bool octets = whole_octets(params.width, params.x, params.bias, params.out);
  with_constants<stat_t>(params.activation, octets, [&](auto activation, auto wide) {
    launch(bias_activation_kernel<activation(), wide(), scalar_t, stat_t>,
           grid_of<wide()>(params.rows, params.width), dim3(kThreads), 0,
           static_cast<cudaStream_t>(stream), params);
  });
}

template <typename scalar_t, typename stat_t>
void launch_bias_activation_backward(const BiasActivationBackwardParams<scalar_t, stat_t>& params,
                                     void* stream) {
  if (params.width == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (params.rows > 0) {
    const bool octets =
        whole_octets(params.width, params.x, params.bias, params.grad_out, params.grad_x);
    with_constants<stat_t>(params.activation, octets, [&](auto activation, auto wide) {
      launch(bias_activation_backward_kernel<activation(), wide(), scalar_t, stat_t>,
             grid_of<wide()>(params.rows, params.width), dim3(kThreads), 0, cuda_stream, params);
    });
  }
  if (params.grad_bias != nullptr) {
    launch_sum_groups<stat_t>({.partial = params.partial,
                               .groups = bias_groups(params.rows),
                               .stride = params.width,
                               .width = params.width,
                               .to = {params.grad_bias}},
                              1, cuda_stream);
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                \
  template void launch_bias_activation(const BiasActivationParams<scalar_t, stat_t>&, void*); \
  template void launch_bias_activation_backward(                                              \
      const BiasActivationBackwardParams<scalar_t, stat_t>&, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
