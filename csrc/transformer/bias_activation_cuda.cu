#include <cstdint>
#include <type_traits>

#include "transformer/bias_activation.h"
#include "transformer/gelu.h"
#include "transformer/row_octets.cuh"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

// A block has the rows of a group and kOctet columns of each of a warp's lanes, or one.
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
static_assert(kBiasGroup % kWarps == 0);

template <Activation kActivation, bool kBrief>
struct Function;

// In bfloat16's precision where that is what the results are rounded to (gelu.h); doubles by erfc.
template <bool kBrief>
struct Function<Activation::kGelu, kBrief> {
  static __device__ __forceinline__ float value(float z) { return gelu<kBrief>(z); }
  static __device__ __forceinline__ float slope(float z, float g) {
    return gelu_slope<kBrief>(z) * g;
  }

  // Beyond 40 Phi is 0 or 1, and infinity times 0 would be NaN.
  static __device__ __forceinline__ double near(double z) {
    return z < -40 ? -40 : z > 40 ? 40 : z;
  }
  static __device__ __forceinline__ double probability(double z) {
    return 0.5 * erfc(z * -0.70710678118654752);
  }
  static __device__ __forceinline__ double value(double z) {
    return (z < 0 ? near(z) : z) * probability(near(z));
  }
  static __device__ __forceinline__ double slope(double z, double g) {
    const double x = near(z), density = exp(-0.5 * x * x) * 0.39894228040143268;  // 1 / sqrt(2 pi)
    return (probability(x) + x * density) * g;
  }
};

template <bool kBrief>
struct Function<Activation::kGeluTanh, kBrief> {
  static __device__ __forceinline__ float value(float z) { return gelu_tanh(z); }
  static __device__ __forceinline__ float slope(float z, float g) { return gelu_tanh_slope(z) * g; }

  // Beyond 40 the share is 0 or 1, and infinity times 0 would be NaN.
  static __device__ __forceinline__ double near(double z) {
    return z < -40 ? -40 : z > 40 ? 40 : z;
  }
  static __device__ __forceinline__ double share(double z) {
    return 1 / (1 + exp(-2 * kRootTwoOverPi * z * (1 + kGeluCubic * z * z)));
  }
  static __device__ __forceinline__ double value(double z) {
    return (z < 0 ? near(z) : z) * share(near(z));
  }
  static __device__ __forceinline__ double slope(double z, double g) {
    const double x = near(z), s = share(x);
    return (s + x * s * (1 - s) * 2 * kRootTwoOverPi * (1 + 3 * kGeluCubic * x * x)) * g;
  }
};

template <bool kBrief>
struct Function<Activation::kRelu, kBrief> {
  template <typename T>
  static __device__ __forceinline__ T value(T z) {
    return z < 0 ? T(0) : z;
  }
  template <typename T>
  static __device__ __forceinline__ T slope(T z, T g) {
    return z > 0 ? g : T(0);
  }
};

template <bool kBrief>
struct Function<Activation::kTanh, kBrief> {
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

// store_octet to global memory, written out: of the loops below nvcc 13.0 would make four stores of
// 4 bytes in place of one of 16.
__device__ __forceinline__ void store_words(void* to, uint32_t a, uint32_t b, uint32_t c,
                                            uint32_t d) {
#ifdef __CUDA_ARCH__
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
#else
  *static_cast<uint4*>(to) = make_uint4(a, b, c, d);
#endif
}
__device__ __forceinline__ void store_whole(Bfloat16* to, const float (&from)[kOctet]) {
  store_words(to, pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]),
              pack_bf16(from[4], from[5]), pack_bf16(from[6], from[7]));
}
__device__ __forceinline__ void store_whole(float* to, const float (&from)[kOctet]) {
#pragma unroll
  for (int i = 0; i < kOctet; i += 4) {
    store_words(to + i, __float_as_uint(from[i]), __float_as_uint(from[i + 1]),
                __float_as_uint(from[i + 2]), __float_as_uint(from[i + 3]));
  }
}

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
      store_whole(to, value);
    } else {
      store_number(to, value[0]);
    }
  }
};

// ---- kernels ------------------------------------------------------------------------------------

// Bound by memory: each number is read once and written once. 32 registers: all of the 64 warps
// that a multiprocessor has room for. GELU takes 19 instructions an element in bfloat16, 22 in
// float32 (SASS of sm_90), two of which are of the special-function unit.
template <Activation kActivation, bool kWide, typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    bias_activation_kernel(BiasActivationParams<scalar_t, stat_t> params) {
  using Numbers = Columns<scalar_t, stat_t, kWide>;
  using F = Function<kActivation, sizeof(scalar_t) == sizeof(Bfloat16)>;
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
      x.value[i] = F::value(x.value[i] + bias.value[i]);
    }
    x.store(params.out + index);
  }
}

// The block's warps add every kWarps-th row of the group, and these sums in order. 48 registers
// with bfloat16, 56 with float32: 40 and 36 warps to a multiprocessor. GELU's slope and the sum
// take 22 instructions an element in bfloat16, 25 in float32.
template <Activation kActivation, bool kWide, typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    bias_activation_backward_kernel(BiasActivationBackwardParams<scalar_t, stat_t> params) {
  using Numbers = Columns<scalar_t, stat_t, kWide>;
  using F = Function<kActivation, sizeof(scalar_t) == sizeof(Bfloat16)>;
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
        g.value[i] = F::slope(x.value[i] + bias.value[i], g.value[i]);
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
    case Activation::kGeluTanh:
      return with_width(std::integral_constant<Activation, Activation::kGeluTanh>{});
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
