// CUDA kernels of decode_attention.h: the keys of every head are cut into parts, of which a block
// has one, so that few sequences fill the device, too; a second kernel joins the parts, in order.
#include <type_traits>

#include "attention/decode_attention.h"
#include "common/octets.cuh"
#include "common/warp.cuh"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
// Keys of a group of lanes: their octets, and those of their values, are all on the way at once, 64
// registers of a thread.
constexpr int kKeysOfGroup = 4;

// A row is read by kLanes lanes of eight neighbours each, a power of two. A block has kThreads /
// kLanes groups of them, and so many keys: 64 of 64 dimensions.
template <int kLanes>
constexpr int kPartKeys = kKeysOfGroup * kThreads / kLanes;

// What a part leaves for the second kernel: `largest` and `weights` of the sums, then D values.
constexpr int64_t kSumsHead = 2;

__device__ __forceinline__ float exp2_of(float x) { return exp2f(x); }
__device__ __forceinline__ double exp2_of(double x) { return exp2(x); }

// Elements d ... d + 7 of a row; zeros beyond `dim`. `whole`: rows start at multiples of 16 bytes
// and dim is a multiple of 8.
template <typename scalar_t, typename stat_t>
__device__ __forceinline__ void read_octet(const scalar_t* row, int d, int dim, bool whole,
                                           stat_t (&to)[kOctet]) {
  if constexpr (!std::is_same_v<scalar_t, double>) {
    if (whole && d < dim) return load_octet(row + d, to);
  }
#pragma unroll
  for (int i = 0; i < kOctet; ++i) to[i] = d + i < dim ? number(row[d + i]) : stat_t(0);
}
template <typename scalar_t>
__device__ __forceinline__ void copy_octet(const scalar_t* from, scalar_t* to, int d, int dim) {
#pragma unroll
  for (int i = 0; i < kOctet; ++i) {
    if (d + i < dim) to[d + i] = from[d + i];
  }
}

// The sums of some keys: their weights, and of their values the lane's octet.
template <typename stat_t>
struct Sums {
  stat_t largest, weights;
  stat_t values[kOctet];
};

// 2^(x - largest), where both may be minus infinity: nothing weighs nothing.
template <typename stat_t>
__device__ __forceinline__ stat_t weight_of(stat_t x, stat_t largest) {
  return x == static_cast<stat_t>(-INFINITY) ? stat_t(0) : exp2_of(x - largest);
}

// ---- kernels ------------------------------------------------------------------------------------

// Block (part, head of a sequence). Every group of lanes takes every (kThreads / kLanes)-th key of
// the part. Sums are joined between the groups of a warp by shuffles, then between warps.
template <typename scalar_t, typename stat_t, int kLanes>
__global__ void __launch_bounds__(kThreads)
    decode_attention_kernel(DecodeAttentionParams<scalar_t> params, bool whole, bool alone,
                            stat_t* scratch) {
  constexpr int kGroups = kThreads / kLanes;
  __shared__ stat_t largest_of[kWarps], weights_of[kWarps];
  __shared__ stat_t values_of[kWarps][kLanes * kOctet];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = static_cast<int>(threadIdx.x) / kLanes;
  const int d = static_cast<int>(threadIdx.x) % kLanes * kOctet;
  const int dim = static_cast<int>(params.dim), heads = static_cast<int>(params.heads);
  const int head = static_cast<int>(blockIdx.x);
  const int b = head / heads, h = head % heads;
  const int keys = static_cast<int>(params.keys(b)), place = static_cast<int>(params.place(b));
  const int first = static_cast<int>(blockIdx.y) * kPartKeys<kLanes>;
  if (first >= keys && first > 0) return;
  const int64_t cache = head * params.capacity * dim;

  stat_t query[kOctet], key[kKeysOfGroup][kOctet], value[kKeysOfGroup][kOctet];
  read_octet(params.q.at(b, h), d, dim, whole, query);
#pragma unroll
  for (int i = 0; i < kKeysOfGroup; ++i) {
    const int j = first + i * kGroups + group;
    const scalar_t* k = params.k_cache + cache + int64_t{j} * dim;
    const scalar_t* v = params.v_cache + cache + int64_t{j} * dim;
    if (j == place) {
      k = params.k.at(b, h);
      v = params.v.at(b, h);
      copy_octet(k, params.k_cache + cache + int64_t{j} * dim, d, dim);
      copy_octet(v, params.v_cache + cache + int64_t{j} * dim, d, dim);
    }
    const int there = j < keys ? dim : 0;
    read_octet(k, d, there, whole, key[i]);
    read_octet(v, d, there, whole, value[i]);
  }

  Sums<stat_t> sums{static_cast<stat_t>(-INFINITY), 0, {}};
  stat_t score[kKeysOfGroup];
  const stat_t scale = static_cast<stat_t>(params.scale * 1.4426950408889634);  // log2(e)
#pragma unroll
  for (int i = 0; i < kKeysOfGroup; ++i) {
    stat_t sum = 0;
#pragma unroll
    for (int e = 0; e < kOctet; ++e) sum += query[e] * key[i][e];
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, step);
    }
    const bool there = first + i * kGroups + group < keys;
    score[i] = there ? scale * sum : static_cast<stat_t>(-INFINITY);
    sums.largest = score[i] > sums.largest ? score[i] : sums.largest;
  }
#pragma unroll
  for (int i = 0; i < kKeysOfGroup; ++i) {
    const stat_t weight = weight_of(score[i], sums.largest);
    sums.weights += weight;
#pragma unroll
    for (int e = 0; e < kOctet; ++e) sums.values[e] += weight * value[i][e];
  }

#pragma unroll
  for (int step = kLanes; step < kWarp; step *= 2) {
    const stat_t other = __shfl_xor_sync(kAllLanes, sums.largest, step);
    const stat_t largest = other > sums.largest ? other : sums.largest;
    // Whichever of the two lanes asks, the products and their sum are the same.
    const stat_t mine = weight_of(sums.largest, largest), theirs = weight_of(other, largest);
    sums.largest = largest;
    sums.weights = mine * sums.weights + theirs * __shfl_xor_sync(kAllLanes, sums.weights, step);
#pragma unroll
    for (int e = 0; e < kOctet; ++e) {
      sums.values[e] =
          mine * sums.values[e] + theirs * __shfl_xor_sync(kAllLanes, sums.values[e], step);
    }
  }
  if (lane < kLanes) {
    if (lane == 0) {
      largest_of[warp] = sums.largest;
      weights_of[warp] = sums.weights;
    }
#pragma unroll
    for (int e = 0; e < kOctet; ++e) values_of[warp][d + e] = sums.values[e];
  }
  __syncthreads();

  stat_t largest = largest_of[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) largest = largest_of[w] > largest ? largest_of[w] : largest;
  stat_t factor[kWarps], weights = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    factor[w] = weight_of(largest_of[w], largest);
    weights += factor[w] * weights_of[w];
  }
  stat_t* part = scratch + (int64_t{head} * gridDim.y + blockIdx.y) * (kSumsHead + dim);
  if (!alone && threadIdx.x == 0) {
    part[0] = largest;
    part[1] = weights;
  }
  for (int e = static_cast<int>(threadIdx.x); e < dim; e += kThreads) {
    stat_t sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += factor[w] * values_of[w][e];
    if (alone) {
      store_number(params.out + int64_t{head} * dim + e, keys == 0 ? stat_t(0) : sum / weights);
    } else {
      part[kSumsHead + e] = sum;
    }
  }
}

// A block has a head of a sequence, a thread some of its dimensions.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    decode_join_kernel(DecodeAttentionParams<scalar_t> params, int part_keys, int parts,
                       const stat_t* scratch) {
  const int dim = static_cast<int>(params.dim), head = static_cast<int>(blockIdx.x);
  const int keys = static_cast<int>(params.keys(head / static_cast<int>(params.heads)));
  const int count = keys <= part_keys ? 1 : (keys + part_keys - 1) / part_keys;
  const int64_t size = kSumsHead + dim;
  const stat_t* sums = scratch + int64_t{head} * parts * size;
  stat_t largest = sums[0];
  for (int p = 1; p < count; ++p) largest = sums[p * size] > largest ? sums[p * size] : largest;
  for (int d = static_cast<int>(threadIdx.x); d < dim; d += kThreads) {
    stat_t weights = 0, sum = 0;
#pragma unroll 4
    for (int p = 0; p < count; ++p) {
      const stat_t factor = weight_of(sums[p * size], largest);
      weights += factor * sums[p * size + 1];
      sum += factor * sums[p * size + kSumsHead + d];
    }
    store_number(params.out + int64_t{head} * dim + d, keys == 0 ? stat_t(0) : sum / weights);
  }
}

// ---- launchers ----------------------------------------------------------------------------------

// function.operator()<kLanes>() for the lanes that rows of `dim` take.
template <typename Function>
void with_lanes(int64_t dim, const Function& function) {
  if (dim <= 4 * kOctet) return function.template operator()<4>();
  if (dim <= 8 * kOctet) return function.template operator()<8>();
  if (dim <= 16 * kOctet) return function.template operator()<16>();
  return function.template operator()<32>();
}

template <int kLanes>
int64_t parts_of(int64_t capacity) {
  return capacity == 0 ? 1 : (capacity + kPartKeys<kLanes> - 1) / kPartKeys<kLanes>;
}

template <typename scalar_t>
bool whole_octets(const DecodeAttentionParams<scalar_t>& params) {
  const auto rows = [&](const DecodeRows<scalar_t>& x) {
    constexpr int64_t kUnit = 16 / sizeof(scalar_t);
    return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.sequence_stride % kUnit == 0 &&
           x.head_stride % kUnit == 0;
  };
  const auto cache = [](const scalar_t* x) { return reinterpret_cast<uintptr_t>(x) % 16 == 0; };
  return params.dim % kOctet == 0 && rows(params.q) && rows(params.k) && rows(params.v) &&
         cache(params.k_cache) && cache(params.v_cache);
}

}  // namespace

template <typename scalar_t>
int64_t decode_attention_scratch(const DecodeAttentionParams<scalar_t>& params) {
  int64_t parts = 1;
  with_lanes(params.dim, [&]<int kLanes>() { parts = parts_of<kLanes>(params.capacity); });
  return parts == 1 ? 0 : params.sequences * params.heads * parts * (kSumsHead + params.dim);
}

template <typename scalar_t, typename stat_t>
void launch_decode_attention(const DecodeAttentionParams<scalar_t>& params, stat_t* scratch,
                             void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const auto heads = static_cast<uint32_t>(params.sequences * params.heads);
  with_lanes(params.dim, [&]<int kLanes>() {
    const auto parts = static_cast<uint32_t>(parts_of<kLanes>(params.capacity));
    launch(decode_attention_kernel<scalar_t, stat_t, kLanes>, dim3(heads, parts), dim3(kThreads), 0,
           cuda_stream, params, whole_octets(params), parts == 1, scratch);
    if (parts > 1) {
      launch(decode_join_kernel<scalar_t, stat_t>, dim3(heads), dim3(kThreads), 0, cuda_stream,
             params, kPartKeys<kLanes>, static_cast<int>(parts), scratch);
    }
  });
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                       \
  template int64_t decode_attention_scratch(const DecodeAttentionParams<scalar_t>&); \
  template void launch_decode_attention(const DecodeAttentionParams<scalar_t>&, stat_t*, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
