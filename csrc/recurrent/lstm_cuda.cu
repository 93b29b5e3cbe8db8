#include <cstdint>
#include <type_traits>

#include "common/cuda_launch.cuh"
#include "recurrent/lstm.h"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kUnits = 128;  // threads side by side, each for one unit of H, or for every 128th
constexpr int kParts = 4;    // parts of a unit's sum, each of which has such threads
constexpr int kThreads = kUnits * kParts;
constexpr int kMostTexts = kParts;  // of a block: each part does the gates of one

template <typename scalar_t>
struct __align__(16) Four {
  scalar_t gate[kGates];
};

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// The texts of a block: kTexts that lie one after another, in one direction.
template <int kTexts>
struct Texts {
  int64_t first, direction;
  LstmWalk walk[kTexts];  // of length 0 beyond the last text
  int64_t steps;

  __device__ __forceinline__ explicit Texts(const LstmShape& shape)
      : first(int64_t{blockIdx.x} * kTexts), direction(blockIdx.y), steps(0) {
#pragma unroll
    for (int b = 0; b < kTexts; ++b) {
      walk[b] =
          first + b < shape.texts ? lstm_walk(shape, first + b, direction) : LstmWalk{0, 0, 0};
      steps = walk[b].length > steps ? walk[b].length : steps;
    }
  }
  // That of a part; by selects, so that all stay in registers.
  __device__ __forceinline__ LstmWalk of(int part) const {
    LstmWalk mine{0, 0, 0};
#pragma unroll
    for (int b = 0; b < kTexts; ++b) mine = b == part ? walk[b] : mine;
    return mine;
  }
};

// ---- kernels ------------------------------------------------------------------------------------

// packed[d, k, u] = the weights of the four gates of unit u for h[k], so that a thread reads all that
// it multiplies h[k] with at once, beside its neighbours.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads)
    lstm_pack_kernel(const scalar_t* w_hh, Four<scalar_t>* packed, int hidden, int count) {
  const int at = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (at >= count) return;
  const int unit = at % hidden, k = at / hidden % hidden, direction = at / hidden / hidden;
  Four<scalar_t> four;
#pragma unroll
  for (int gate = 0; gate < kGates; ++gate) {
    const int64_t row = (int64_t{direction} * kGates + gate) * hidden + unit;
    four.gate[gate] = w_hh[row * hidden + k];
  }
  packed[at] = four;
}

// One block for kTexts texts in one direction, from their first step to their last. The weights stay
// in shared memory where there is room (160,000 bytes for H = 100; an H200 has 227 KB), so that a step
// waits for no memory but that of its gates, which are asked for before its products. Each part of the
// threads sums over a quarter of h; then part b adds the four sums of text b and goes on to its c and
// h. A step reads all weights, 1250 cycles of shared memory for H = 100, which up to four texts share.
// A multiprocessor has room for one block, which may take twice the registers of two.
template <typename scalar_t, int kTexts, bool kShared>
__global__ void __launch_bounds__(kThreads, 1)
    lstm_kernel(LstmParams<scalar_t> params, const Four<scalar_t>* packed) {
  LEXFORGE_DYNAMIC_SHARED(Four<scalar_t>, shared);
  const int hidden = static_cast<int>(params.shape.hidden);
  const int64_t directions = params.shape.directions;
  const Texts<kTexts> texts(params.shape);
  const int thread = static_cast<int>(threadIdx.x);
  const int part = thread / kUnits, first_unit = thread % kUnits;

  const Four<scalar_t>* weights = packed + texts.direction * hidden * hidden;
  Four<scalar_t>* sums = shared;  // [kParts][kTexts][H]
  if constexpr (kShared) {
    for (int i = thread; i < hidden * hidden; i += kThreads) shared[i] = weights[i];
    weights = shared;
    sums = shared + hidden * hidden;
  }
  auto* h = reinterpret_cast<scalar_t*>(sums + kParts * kTexts * hidden);  // [kTexts][H]
  scalar_t* c = h + kTexts * hidden;                                       // [kTexts][H]
  for (int i = thread; i < 2 * kTexts * hidden; i += kThreads) h[i] = 0;
  __syncthreads();

  const LstmWalk walk = texts.of(part);
  const auto place_of = [&](int64_t token) { return token * directions + texts.direction; };
  const auto gates_of = [&](int64_t s, int unit) {
    const int64_t token = walk.token(s);
    const int64_t row = params.index != nullptr ? params.index[token] : token;
    Four<scalar_t> four;
#pragma unroll
    for (int gate = 0; gate < kGates; ++gate) {
      const bool known = 0 <= row && row < params.rows;
      four.gate[gate] = known ? params.gates[(place_of(row) * kGates + gate) * hidden + unit]
                              : static_cast<scalar_t>(NAN);
    }
    return four;
  };

  for (int64_t s = 0; s < texts.steps; ++s) {
    const bool present = s < walk.length;
    Four<scalar_t> ahead{};
    if (present && first_unit < hidden) ahead = gates_of(s, first_unit);
    if (s > 0) {
      const int begin = hidden * part / kParts, end = hidden * (part + 1) / kParts;
      for (int unit = first_unit; unit < hidden; unit += kUnits) {
        Four<scalar_t> sum[kTexts]{};
#pragma unroll 4
        for (int k = begin; k < end; ++k) {
          const Four<scalar_t> weight = weights[k * hidden + unit];
#pragma unroll
          for (int b = 0; b < kTexts; ++b) {
            const scalar_t x = h[b * hidden + k];
#pragma unroll
            for (int gate = 0; gate < kGates; ++gate) {
              sum[b].gate[gate] += weight.gate[gate] * x;
            }
          }
        }
#pragma unroll
        for (int b = 0; b < kTexts; ++b) sums[(part * kTexts + b) * hidden + unit] = sum[b];
      }
    }
    __syncthreads();  // the sums are there, and h has been read
    if (present) {
      const int64_t place = place_of(walk.token(s));
      const int64_t end = (texts.first + part) * directions + texts.direction;
      for (int unit = first_unit; unit < hidden; unit += kUnits) {
        Four<scalar_t> x = unit == first_unit ? ahead : gates_of(s, unit);
        if (s > 0) {
#pragma unroll
          for (int p = 0; p < kParts; ++p) {
            const Four<scalar_t> sum = sums[(p * kTexts + part) * hidden + unit];
#pragma unroll
            for (int gate = 0; gate < kGates; ++gate) x.gate[gate] += sum.gate[gate];
          }
        }
        const scalar_t i = sigmoid(x.gate[0]), f = sigmoid(x.gate[1]);
        const scalar_t g = ::tanh(x.gate[2]), o = sigmoid(x.gate[3]);
        const int at = part * hidden + unit;
        const scalar_t cell = f * c[at] + i * g;
        const scalar_t out = o * ::tanh(cell);
        c[at] = cell;
        h[at] = out;
        params.out[place * hidden + unit] = out;
        if (s == walk.length - 1) {
          params.h_n[end * hidden + unit] = out;
          params.c_n[end * hidden + unit] = cell;
        }
        if (params.activated != nullptr) {
          scalar_t* activated = params.activated + place * kGates * hidden + unit;
          activated[0] = i;
          activated[hidden] = f;
          activated[2 * hidden] = g;
          activated[3 * hidden] = o;
          params.cells[place * hidden + unit] = cell;
        }
      }
    }
    __syncthreads();  // h is there, and the sums have been read
  }
  if (part < kTexts && texts.first + part < params.shape.texts && walk.length == 0) {
    const int64_t end = (texts.first + part) * directions + texts.direction;
    for (int unit = first_unit; unit < hidden; unit += kUnits) {
      params.h_n[end * hidden + unit] = params.c_n[end * hidden + unit] = 0;
    }
  }
}

// What the backward reads of one unit at one step.
template <typename scalar_t>
struct Step {
  scalar_t i, f, g, o, cell, cell_before, grad;
};

// As lstm_kernel, against the order of the direction; part p of the threads sums over gate p, with
// the weights as they lie.
template <typename scalar_t, int kTexts, bool kShared>
__global__ void __launch_bounds__(kThreads, 1)
    lstm_backward_kernel(LstmBackwardParams<scalar_t> params) {
  LEXFORGE_DYNAMIC_SHARED(scalar_t, shared);
  const int hidden = static_cast<int>(params.shape.hidden);
  const int64_t directions = params.shape.directions;
  const Texts<kTexts> texts(params.shape);
  const int thread = static_cast<int>(threadIdx.x);
  const int part = thread / kUnits, first_unit = thread % kUnits;

  const scalar_t* weights = params.w_hh + texts.direction * kGates * hidden * hidden;
  scalar_t* sums = shared;  // [kParts][kTexts][H]
  if constexpr (kShared) {
    for (int i = thread; i < kGates * hidden * hidden; i += kThreads) shared[i] = weights[i];
    weights = shared;
    sums = shared + kGates * hidden * hidden;
  }
  scalar_t* grads = sums + kParts * kTexts * hidden;    // [kTexts][4][H] of the gates
  scalar_t* grad_c = grads + kTexts * kGates * hidden;  // [kTexts][H]
  for (int i = thread; i < kTexts * kGates * hidden; i += kThreads) grads[i] = 0;
  __syncthreads();

  const LstmWalk walk = texts.of(part);
  const int64_t end = (texts.first + part) * directions + texts.direction;
  const auto place_of = [&](int64_t s) { return walk.token(s) * directions + texts.direction; };
  const auto step_of = [&](int64_t s, int unit) {
    const int64_t place = place_of(s);
    const scalar_t* activated = params.activated + place * kGates * hidden + unit;
    Step<scalar_t> step;
    step.i = activated[0];
    step.f = activated[hidden];
    step.g = activated[2 * hidden];
    step.o = activated[3 * hidden];
    step.cell = params.cells[place * hidden + unit];
    step.cell_before = s > 0 ? params.cells[place_of(s - 1) * hidden + unit] : scalar_t(0);
    step.grad = params.grad_out != nullptr ? params.grad_out[place * hidden + unit] : scalar_t(0);
    return step;
  };

  Step<scalar_t> ahead{};
  const auto ask = [&](int64_t s) {
    if (0 <= s && s < walk.length && first_unit < hidden) ahead = step_of(s, first_unit);
  };
  ask(texts.steps - 1);
  for (int64_t s = texts.steps - 1; s >= 0; --s) {
    if (s < walk.length) {
      const bool last = s == walk.length - 1;
      for (int unit = first_unit; unit < hidden; unit += kUnits) {
        const Step<scalar_t> step = unit == first_unit ? ahead : step_of(s, unit);
        const int at = part * hidden + unit;
        scalar_t dh = step.grad, dc = 0;
        if (last) {
          if (params.grad_h != nullptr) dh += params.grad_h[end * hidden + unit];
          if (params.grad_c != nullptr) dc = params.grad_c[end * hidden + unit];
        } else {
#pragma unroll
          for (int p = 0; p < kParts; ++p) dh += sums[(p * kTexts + part) * hidden + unit];
          dc = grad_c[at];
        }
        const scalar_t i = step.i, f = step.f, g = step.g, o = step.o;
        const scalar_t squashed = ::tanh(step.cell);
        dc += dh * o * (1 - squashed * squashed);
        const scalar_t of_gates[kGates] = {dc * g * i * (1 - i),
                                           dc * step.cell_before * f * (1 - f),
                                           dc * i * (1 - g * g), dh * squashed * o * (1 - o)};
        grad_c[at] = dc * f;
#pragma unroll
        for (int gate = 0; gate < kGates; ++gate) {
          grads[(part * kGates + gate) * hidden + unit] = of_gates[gate];
          params.grad_gates[(place_of(s) * kGates + gate) * hidden + unit] = of_gates[gate];
        }
      }
    }
    if (s == 0) break;
    ask(s - 1);
    __syncthreads();  // the gradients of the gates are there, and the sums have been read
    const scalar_t* of_part = weights + part * hidden * hidden;
    for (int unit = first_unit; unit < hidden; unit += kUnits) {
      scalar_t sum[kTexts]{};
#pragma unroll 4
      for (int k = 0; k < hidden; ++k) {
        const scalar_t weight = of_part[k * hidden + unit];
#pragma unroll
        for (int b = 0; b < kTexts; ++b) {
          sum[b] += weight * grads[(b * kGates + part) * hidden + k];
        }
      }
#pragma unroll
      for (int b = 0; b < kTexts; ++b) sums[(part * kTexts + b) * hidden + unit] = sum[b];
    }
    __syncthreads();  // the sums are there, and the gradients have been read
  }
}

// ---- launchers ----------------------------------------------------------------------------------

int64_t attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "device");
  check_cuda(cudaDeviceGetAttribute(&value, which, device), "device attribute");
  return value;
}

// How many texts a block has, and whether the weights lie in its shared memory.
struct Plan {
  int64_t texts;
  bool shared;
  int64_t bytes;
};

// Texts share a block where there are more blocks than multiprocessors, each of which has room for
// one; but weights in shared memory come before that.
template <typename scalar_t>
Plan plan_of(const LstmShape& shape, int64_t numbers_of_text) {
  const int64_t hidden = shape.hidden, number = sizeof(scalar_t);
  if constexpr (std::is_same_v<scalar_t, double>) {
    return {1, false, numbers_of_text * hidden * number};
  }
  const int64_t blocks = attribute(cudaDevAttrMultiProcessorCount);
  const int64_t room = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  const int64_t pairs = shape.texts * shape.directions;
  const int64_t texts = pairs <= blocks ? 1 : pairs <= 2 * blocks ? 2 : kMostTexts;
  for (const bool shared : {true, false}) {
    for (int64_t count = texts; count > 0; count /= 2) {
      const int64_t weights = shared ? kGates * hidden * hidden : 0;
      const int64_t bytes = (weights + count * numbers_of_text * hidden) * number;
      if (bytes <= room) return {count, shared, bytes};
    }
  }
  throw std::runtime_error("lstm: the device's shared memory is too small for the hidden size");
}

template <typename scalar_t, typename Run>
void with_plan(const Plan& plan, const Run& run) {
  using std::integral_constant;
  if constexpr (std::is_same_v<scalar_t, double>) {
    run(integral_constant<int, 1>(), std::false_type());
  } else {
    const auto with_texts = [&](auto shared) {
      if (plan.texts == 1) return run(integral_constant<int, 1>(), shared);
      if (plan.texts == 2) return run(integral_constant<int, 2>(), shared);
      run(integral_constant<int, kMostTexts>(), shared);
    };
    plan.shared ? with_texts(std::true_type()) : with_texts(std::false_type());
  }
}

dim3 grid_of(const LstmShape& shape, const Plan& plan) {
  return dim3(blocks_for(shape.texts, plan.texts), static_cast<uint32_t>(shape.directions));
}

}  // namespace

template <typename scalar_t>
void launch_lstm(const LstmParams<scalar_t>& params, scalar_t* packed, void* stream) {
  const LstmShape& shape = params.shape;
  if (shape.texts == 0) return;
  const auto on = static_cast<cudaStream_t>(stream);
  auto* fours = reinterpret_cast<Four<scalar_t>*>(packed);
  const int64_t count = shape.directions * shape.hidden * shape.hidden;
  launch(lstm_pack_kernel<scalar_t>, dim3(blocks_for(count, kThreads)), dim3(kThreads), 0, on,
         params.w_hh, fours, static_cast<int>(shape.hidden), static_cast<int>(count));
  // The four sums of kParts parts, h and c.
  const Plan plan = plan_of<scalar_t>(shape, kParts * kGates + 2);
  with_plan<scalar_t>(plan, [&](auto texts, auto shared) {
    launch(lstm_kernel<scalar_t, texts(), shared()>, grid_of(shape, plan), dim3(kThreads),
           static_cast<size_t>(plan.bytes), on, params, fours);
  });
}

template <typename scalar_t>
void launch_lstm_backward(const LstmBackwardParams<scalar_t>& params, void* stream) {
  const LstmShape& shape = params.shape;
  if (shape.texts == 0) return;
  // A sum of each part, the gradients of the gates, and that of c.
  const Plan plan = plan_of<scalar_t>(shape, kParts + kGates + 1);
  with_plan<scalar_t>(plan, [&](auto texts, auto shared) {
    launch(lstm_backward_kernel<scalar_t, texts(), shared()>, grid_of(shape, plan), dim3(kThreads),
           static_cast<size_t>(plan.bytes), static_cast<cudaStream_t>(stream), params);
  });
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                      \
  template void launch_lstm(const LstmParams<scalar_t>&, scalar_t*, void*); \
  template void launch_lstm_backward(const LstmBackwardParams<scalar_t>&, void*);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
