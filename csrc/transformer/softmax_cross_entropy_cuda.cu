#include <cstdint>
#include <type_traits>

#include "transformer/row_octets.cuh"
#include "transformer/softmax_cross_entropy.h"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;

// exp(x) for x <= 0. In float 2^(x log2 e): one multiplication and the device's own power of two,
// within two units in the last place and the product's rounding, relative 6e-8 |x|. The logarithm
// is not folded into the logits, which would save the multiplication but round them: for a logit of
// 1000 the loss would be off by up to 4e-5.
__device__ __forceinline__ float exponential(float x) { return exp2_fast(x * 1.44269504f); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }

// In float 0 below -60.
__device__ __forceinline__ float exp_or_zero(float x) {
  const float e = exponential(x);
  return x < -60.0f ? 0.0f : e;
}
__device__ __forceinline__ double exp_or_zero(double x) { return exp(x); }

__device__ __forceinline__ float larger(float x, float y) { return fmaxf(x, y); }
__device__ __forceinline__ double larger(double x, double y) { return fmax(x, y); }

// Of some entries of a row: the largest, the octet or single entry where it first is, and the sum
// of exp(z - largest).
template <typename stat_t>
struct Statistics {
  stat_t most, sum;
  int where;

  // What exponents are relative to; for nothing but minus infinities any number is.
  static __device__ __forceinline__ stat_t shift(stat_t most) {
    return most == -INFINITY ? stat_t(0) : most;
  }

  // Without a branch: some lane of a warp nearly always finds a larger entry.
  template <int kCount>
  __device__ __forceinline__ void add(const stat_t (&z)[kCount], int first) {
    stat_t largest = z[0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) largest = larger(largest, z[i]);
    const bool more = largest > most;
    where = more ? first : where;
    largest = more ? largest : most;
    const stat_t by = shift(largest);
    sum *= exponential(most - by);
    most = largest;
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += exponential(z[i] - by);
  }

  __device__ __forceinline__ void join(const Statistics& other) {
    const stat_t largest = most < other.most ? other.most : most, by = shift(largest);
    sum = sum * exponential(most - by) + other.sum * exponential(other.most - by);
    if (most < other.most || (most == other.most && other.where < where)) where = other.where;
    most = largest;
  }
};

// In every thread of the block, over all of them.
template <typename stat_t>
__device__ __forceinline__ Statistics<stat_t> over_block(Statistics<stat_t> mine,
                                                         Statistics<stat_t>* shared) {
  const auto join_lanes = [](Statistics<stat_t> value, int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) {
      value.join({__shfl_xor_sync(kAllLanes, value.most, step),
                  __shfl_xor_sync(kAllLanes, value.sum, step),
                  __shfl_xor_sync(kAllLanes, value.where, step)});
    }
    return value;
  };
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  mine = join_lanes(mine, kWarp);
  if (lane == 0) shared[threadIdx.x / kWarp] = mine;
  __syncthreads();
  return join_lanes(shared[lane % kWarps], kWarps);
}

// The elements of a row as the block's threads take them: octets at multiples of 16 bytes, and one
// by one what is before and after them. Doubles come one by one.
template <typename scalar_t>
struct RowOfBlock {
  int head, octets, classes;

  __device__ __forceinline__ RowOfBlock(const scalar_t* row, int classes) : classes(classes) {
    if constexpr (std::is_same_v<scalar_t, double>) {
      head = 0;
      octets = 0;
    } else {
      const auto beyond = static_cast<int>(reinterpret_cast<uintptr_t>(row) % 16);
      head = min((16 - beyond) % 16 / static_cast<int>(sizeof(scalar_t)), classes);
      octets = (classes - head) / kOctet;
    }
  }

  // octet(first), one(index)
  template <typename Octet, typename One>
  __device__ __forceinline__ void visit(const Octet& octet, const One& one) const {
    const int thread = static_cast<int>(threadIdx.x);
    if constexpr (!std::is_same_v<scalar_t, double>) {
      if (thread < head) one(thread);
#pragma unroll 2
      for (int o = thread; o < octets; o += kThreads) octet(head + o * kOctet);
    }
    for (int j = head + octets * kOctet + thread; j < classes; j += kThreads) one(j);
  }
};

// ---- kernels ------------------------------------------------------------------------------------

// One block per row, which it reads twice: for the statistics, and (from the second-level cache)
// for the gradient. 32 registers: four blocks, all of the 64 warps that a multiprocessor has room
// for. Of bfloat16 with a bias, an element takes 11 instructions in either pass (SASS of sm_90),
// one of which is of the special-function unit.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    softmax_cross_entropy_kernel(SoftmaxCrossEntropyParams<scalar_t, stat_t> params) {
  __shared__ Statistics<stat_t> shared[kWarps];
  const int64_t r = blockIdx.x;
  const int classes = static_cast<int>(params.classes);
  scalar_t* logits = params.logits + r * params.classes;
  const stat_t scale = params.scale[r];
  const RowOfBlock<scalar_t> row(logits, classes);
  const int64_t label = params.labels[r];
  const bool known = 0 <= label && label < classes;

  const auto biased = [&](int j) {
    const stat_t z = number(logits[j]);
    return params.bias == nullptr ? z : z + params.bias[j];
  };
  const bool aligned = reinterpret_cast<uintptr_t>(params.bias + row.head) % 16 == 0;
  const auto load = [&](int first, stat_t(&z)[kOctet]) {
    if constexpr (!std::is_same_v<scalar_t, double>) {
      load_octet(logits + first, z);
      if (params.bias == nullptr) return;
      stat_t bias[kOctet];
      if (aligned) {
        load_octet(params.bias + first, bias);
      } else {
#pragma unroll
        for (int i = 0; i < kOctet; ++i) bias[i] = params.bias[first + i];
      }
#pragma unroll
      for (int i = 0; i < kOctet; ++i) z[i] += bias[i];
    }
  };
  const auto store = [&](int first, const stat_t(&g)[kOctet]) {
    if constexpr (!std::is_same_v<scalar_t, double>) store_octet(logits + first, g);
  };

  if (scale == 0) {
    if (threadIdx.x == 0) {
      params.loss[r] = 0;
      params.correct[r] = 0;
    }
    if (!params.gradient) return;
    row.visit([&](int first) { store(first, {}); },
              [&](int j) { store_number(logits + j, stat_t(0)); });
    return;
  }

  Statistics<stat_t> mine{-INFINITY, 0, classes};
  row.visit(
      [&](int first) {
        stat_t z[kOctet];
        load(first, z);
        mine.add(z, first);
      },
      [&](int j) {
        const stat_t z[1] = {biased(j)};
        mine.add(z, j);
      });
  const Statistics<stat_t> all = over_block(mine, shared);

  stat_t of_label = static_cast<stat_t>(NAN);
  if (threadIdx.x < kWarp) {
    const int lane = static_cast<int>(threadIdx.x), j = all.where + lane;
    const bool largest = lane < kOctet && j < classes && biased(j) == all.most;
    const unsigned before = __ballot_sync(kAllLanes, largest) & ((1u << lane) - 1);
    const bool correct = __any_sync(kAllLanes, largest && before == 0 && j == label);
    if (lane == 0) {
      if (known) of_label = biased(static_cast<int>(label));
      params.loss[r] = scale * (log(all.sum) + (all.most - of_label));
      params.correct[r] = correct;
    }
  }
  if (!params.gradient) return;
  __syncthreads();  // the logits of the label and of the largest entry have been read
  const stat_t share = known ? scale / all.sum : static_cast<stat_t>(NAN);
  const auto slope = [&](stat_t z) { return share * exp_or_zero(z - all.most); };
  row.visit(
      [&](int first) {
        stat_t z[kOctet];
        load(first, z);
#pragma unroll
        for (int i = 0; i < kOctet; ++i) z[i] = slope(z[i]);
        store(first, z);
      },
      [&](int j) { store_number(logits + j, slope(biased(j))); });
  __syncthreads();
  if (threadIdx.x == 0 && known) store_number(logits + label, slope(of_label) - scale);
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

template <typename scalar_t, typename stat_t>
void launch_softmax_cross_entropy(const SoftmaxCrossEntropyParams<scalar_t, stat_t>& params,
                                  void* stream) {
  if (params.rows == 0) return;
  launch(softmax_cross_entropy_kernel<scalar_t, stat_t>, dim3(static_cast<uint32_t>(params.rows)),
         dim3(kThreads), 0, static_cast<cudaStream_t>(stream), params);
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                   \
  template void launch_softmax_cross_entropy(const SoftmaxCrossEntropyParams<scalar_t, stat_t>&, \
                                             void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(Bfloat16, float)
LEXFORGE_INSTANTIATE(double, double)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
