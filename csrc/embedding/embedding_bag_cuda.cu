#include <cstdint>
#include <type_traits>

#include "common/octets.cuh"
#include "common/run_parts.cuh"
#include "embedding/embedding_bag.h"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kThreads = kRowWarps * kWarp;
constexpr int kAhead = 4;    // ids whose rows are read together
constexpr int kPerLane = 4;  // columns of a sum that a lane has at a time
constexpr int kSlices = 8;   // warps that join the parts of a run
constexpr int64_t kColumns = kPerLane * kWarp;

__device__ __forceinline__ bool in_range(int32_t id, int64_t rows) {
  return static_cast<uint32_t>(id) < rows;
}

// What one computes with: float, or double of double.
template <typename scalar_t>
using Number = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;

// Where bag b begins, whatever the offsets are.
__device__ __forceinline__ int64_t begin_of(const Bags& bags, int64_t b) {
  return max(int64_t{0}, min(bags[b], bags.ids_count));
}

// The bag of id i, or -1 of none.
__device__ __forceinline__ int32_t bag_of(const Bags& bags, int64_t i) {
  if (bags.offsets == nullptr) {
    return static_cast<int32_t>(static_cast<uint32_t>(i) / static_cast<uint32_t>(bags.length));
  }
  int64_t low = 0, high = bags.count + 1;  // the first offset above i
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (bags.offsets[middle] <= i) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low <= bags.count ? static_cast<int32_t>(low) - 1 : -1;
}

// Neighbours that are read and written at once, 16 bytes at a multiple of 16; or a single one.
template <typename scalar_t>
__device__ __forceinline__ void load_pack(const scalar_t* from, Number<scalar_t> (&to)[1]) {
  to[0] = number(*from);
}
__device__ __forceinline__ void load_pack(const float* from, float (&to)[4]) {
  const float4 x = *reinterpret_cast<const float4*>(from);
  to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
}
__device__ __forceinline__ void load_pack(const double* from, double (&to)[2]) {
  const double2 x = *reinterpret_cast<const double2*>(from);
  to[0] = x.x, to[1] = x.y;
}
__device__ __forceinline__ void load_pack(const Bfloat16* from, float (&to)[8]) {
  load_octet(from, to);
}
template <typename scalar_t>
__device__ __forceinline__ void store_pack(scalar_t* to, const Number<scalar_t> (&from)[1]) {
  store_number(to, from[0]);
}
__device__ __forceinline__ void store_pack(float* to, const float (&from)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
}
__device__ __forceinline__ void store_pack(double* to, const double (&from)[2]) {
  *reinterpret_cast<double2*>(to) = make_double2(from[0], from[1]);
}
__device__ __forceinline__ void store_pack(Bfloat16* to, const float (&from)[8]) {
  store_octet(to, from);
}

template <typename stat_t>
__device__ __forceinline__ stat_t not_a_number() {
  return static_cast<stat_t>(nanf(""));
}

// ---- forward ------------------------------------------------------------------------------------

// One warp per bag; lane l has the packs l, l + 32, ... of its row, and reads those of kAhead ids
// together. Bound by the random reads of the table, and of a lookup by the write of the result.
template <typename scalar_t, typename stat_t, int kPack>
__global__ void __launch_bounds__(kThreads)
    embedding_bag_kernel(EmbeddingBagParams<scalar_t, stat_t> params) {
  const Bags& bags = params.bags;
  const int64_t b = global_warp();
  if (b >= bags.count) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t begin = begin_of(bags, b), end = begin_of(bags, b + 1);
  const bool lookup = params.mode == BagMode::kLookup;
  for (int64_t column = kPack * lane; column < params.dim; column += kPack * kWarp) {
    stat_t sum[kPack] = {};
    int count = 0;
    for (int64_t base = begin; base < end; base += kAhead) {
      stat_t x[kAhead][kPack];
      bool used[kAhead], known[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int32_t id = base + a < end ? bags.ids[base + a] : -1;
        used[a] = base + a < end && (lookup || id != bags.padding);
        known[a] = in_range(id, params.rows);
        if (used[a] && known[a]) load_pack(params.table + id * params.dim + column, x[a]);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        if (!used[a]) continue;
        const stat_t weight = params.weights != nullptr ? params.weights[base + a] : stat_t(1);
        ++count;
#pragma unroll
        for (int k = 0; k < kPack; ++k) {
          sum[k] += known[a] ? weight * x[a][k] : not_a_number<stat_t>();
        }
      }
    }
    if (params.mode == BagMode::kMean) {
      const stat_t scale = count > 0 ? stat_t(1) / static_cast<stat_t>(count) : stat_t(0);
#pragma unroll
      for (int k = 0; k < kPack; ++k) sum[k] *= scale;
      if (column == 0) params.scale[b] = scale;
    }
    store_pack(params.out + b * params.dim + column, sum);
  }
}

// The same of a maximum, number by number.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    embedding_bag_max_kernel(EmbeddingBagParams<scalar_t, stat_t> params) {
  const Bags& bags = params.bags;
  const int64_t b = global_warp();
  if (b >= bags.count) return;
  const int64_t begin = begin_of(bags, b), end = begin_of(bags, b + 1);
  for (int64_t column = threadIdx.x % kWarp; column < params.dim; column += kWarp) {
    stat_t best = 0;
    int32_t choice = -1;
    bool first = true, all_known = true;
#pragma unroll 4
    for (int64_t i = begin; i < end; ++i) {
      const int32_t id = bags.ids[i];
      if (id == bags.padding) continue;
      if (!in_range(id, params.rows)) {
        all_known = false;
        continue;
      }
      const auto x = static_cast<stat_t>(number(params.table[id * params.dim + column]));
      if (first || x > best) {
        best = x;
        choice = static_cast<int32_t>(i);
      }
      first = false;
    }
    const int64_t place = b * params.dim + column;
    store_number(params.out + place, all_known ? best : not_a_number<stat_t>());
    params.choice[place] = all_known ? choice : -1;
  }
}

// ---- backward -----------------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads)
    embedding_bag_keys_kernel(Bags bags, int64_t rows, int32_t* keys, int32_t* occurrence,
                              int32_t* bag) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= bags.ids_count) return;
  const int32_t id = bags.ids[i], own = bag_of(bags, i);
  const bool used = own >= 0 && id != bags.padding && in_range(id, rows);
  keys[i] = used ? id : static_cast<int32_t>(rows);
  occurrence[i] = static_cast<int32_t>(i);
  if (bag != nullptr) bag[i] = own;
}

// One warp per sorted id, of which the first of each part works. Each lane describes one of the
// part's ids and has four columns of 128; the rows of two ids are read together.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    embedding_bag_parts_kernel(EmbeddingBagCudaSums<scalar_t, stat_t> sums) {
  const BagGradient<scalar_t, stat_t>& gradient = sums.gradient;
  const int64_t first = global_warp(), dim = gradient.dim;
  const RunPart part = run_part_at(sums.sorted_row, sums.count, sums.rows, first);
  if (part.count == 0) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  int32_t my_id = 0, my_row = 0;
  stat_t my_weight = 1;
  if (lane < part.count) {
    my_id = sums.sorted_id[first + lane];
    my_row = gradient.bag != nullptr ? gradient.bag[my_id] : my_id;
    if (gradient.weights != nullptr) my_weight = gradient.weights[my_id];
    if (gradient.scale != nullptr) my_weight = gradient.scale[my_row];
  }
  const int64_t row = sums.sorted_row[first];
  const stat_t factor =
      sums.by_frequency && part.whole ? stat_t(1) / static_cast<stat_t>(part.count) : stat_t(1);
  for (int64_t block = 0; block < dim; block += kColumns) {
    stat_t sum[kPerLane] = {};
#pragma unroll 2
    for (int m = 0; m < part.count; ++m) {
      const int64_t from = __shfl_sync(kAllLanes, my_row, m) * dim;
      const int32_t id = __shfl_sync(kAllLanes, my_id, m);
      const stat_t weight = __shfl_sync(kAllLanes, my_weight, m);
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        const int64_t column = block + j * kWarp + lane;
        if (column >= dim) continue;
        const auto x = static_cast<stat_t>(number(gradient.from[from + column]));
        const bool chosen = gradient.choice == nullptr || gradient.choice[from + column] == id;
        sum[j] += chosen ? weight * x : stat_t(0);
      }
    }
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int64_t column = block + j * kWarp + lane;
      if (column >= dim) continue;
      if (part.whole) {
        store_number(sums.to + row * dim + column, sum[j] * factor);
      } else {
        sums.partial[part.partial * dim + column] = sum[j];
      }
    }
  }
}

// How many keys are below `row`.
__device__ __forceinline__ int64_t keys_below(const int32_t* keys, int64_t n, int64_t row) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (keys[middle] < row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// One block for every kRunPart sorted ids and each 32 columns: adds up the parts of the run that
// starts there and goes on. Each of its warps adds every kSlices-th part, and these are added in
// order.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kSlices* kWarp)
    embedding_bag_join_kernel(EmbeddingBagCudaSums<scalar_t, stat_t> sums) {
  __shared__ stat_t shared[kSlices][kWarp];
  const int64_t c = blockIdx.x, dim = sums.gradient.dim;
  const int64_t parts = run_parts_from(sums.sorted_row, sums.count, sums.rows, c);
  if (parts == 0) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int slice = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t column = int64_t{blockIdx.y} * kWarp + lane;
  stat_t sum = 0;
  if (column < dim) {
#pragma unroll 4
    for (int64_t p = slice; p < parts; p += kSlices) {
      sum += sums.partial[(2 * (c + p) + (p == 0)) * dim + column];
    }
  }
  shared[slice][lane] = sum;
  __syncthreads();
  if (slice != 0 || column >= dim) return;
#pragma unroll
  for (int s = 1; s < kSlices; ++s) sum += shared[s][lane];
  const int64_t row = sums.sorted_row[(c + 1) * kRunPart];
  if (sums.by_frequency) {
    const int64_t count = keys_below(sums.sorted_row, sums.count, row + 1) -
                          keys_below(sums.sorted_row, sums.count, row);
    sum /= static_cast<stat_t>(count);
  }
  store_number(sums.to + row * dim + column, sum);
}

// One warp per id.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    embedding_bag_weights_kernel(EmbeddingBagWeightsParams<scalar_t, stat_t> params) {
  const Bags& bags = params.bags;
  const int64_t i = global_warp();
  if (i >= bags.ids_count) return;
  const int32_t id = bags.ids[i], bag = bag_of(bags, i);
  if (bag < 0 || id == bags.padding || !in_range(id, params.rows)) return;
  const scalar_t* grad = params.grad_out + bag * params.dim;
  const scalar_t* row = params.table + id * params.dim;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  stat_t sum = 0;
  for (int64_t d = lane; d < params.dim; d += kWarp) {
    sum += static_cast<stat_t>(number(grad[d])) * static_cast<stat_t>(number(row[d]));
  }
  sum = warp_sum(sum);
  if (lane == 0) params.grad[i] = sum;
}

// ---- renormalisation ----------------------------------------------------------------------------

// x^p for x >= 0 and p > 0; without the call that pow is in double.
template <typename stat_t>
__device__ __forceinline__ stat_t power(stat_t x, stat_t p) {
  return exp(p * log(x));
}

// Not a number if one of them is not.
template <typename stat_t>
__device__ __forceinline__ stat_t larger(stat_t a, stat_t b) {
  return b > a || isnan(b) ? b : a;
}

// One warp per sorted id, of which the first of each row works.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    embedding_renorm_kernel(EmbeddingRenormParams<scalar_t> params, const int32_t* sorted_row,
                            int64_t count, int64_t rows) {
  const int64_t i = global_warp();
  if (!run_starts(sorted_row, count, rows, i)) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  scalar_t* row = params.table + sorted_row[i] * params.dim;
  const auto p = static_cast<stat_t>(params.norm_type);
  const bool greatest = isinf(p);
  stat_t norm = 0;
  for (int64_t d = lane; d < params.dim; d += kWarp) {
    const stat_t x = fabs(static_cast<stat_t>(number(row[d])));
    if (greatest) {
      norm = larger(norm, x);
    } else {
      norm += p == 2 ? x * x : p == 1 ? x : power(x, p);
    }
  }
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const stat_t other = __shfl_xor_sync(kAllLanes, norm, step);
    norm = greatest ? larger(norm, other) : norm + other;
  }
  if (!greatest && p != 1) norm = p == 2 ? sqrt(norm) : power(norm, 1 / p);
  if (!(norm > static_cast<stat_t>(params.max_norm))) return;
  const stat_t factor =
      static_cast<stat_t>(params.max_norm) / (norm + static_cast<stat_t>(kRenormEpsilon));
  for (int64_t d = lane; d < params.dim; d += kWarp) {
    store_number(row + d, factor * static_cast<stat_t>(number(row[d])));
  }
}

bool in_packs(int64_t dim, int pack, const void* table, const void* out) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return dim % pack == 0 && aligned(table) && aligned(out);
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

template <typename scalar_t, typename stat_t>
void launch_embedding_bag(const EmbeddingBagParams<scalar_t, stat_t>& params, void* stream) {
  if (params.bags.count == 0) return;
  const dim3 grid(blocks_for(params.bags.count, kRowWarps)), block(kThreads);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  constexpr int kPack = 16 / sizeof(scalar_t);
  if (params.mode == BagMode::kMax) {
    launch(embedding_bag_max_kernel<scalar_t, stat_t>, grid, block, 0, cuda_stream, params);
  } else if (in_packs(params.dim, kPack, params.table, params.out)) {
    launch(embedding_bag_kernel<scalar_t, stat_t, kPack>, grid, block, 0, cuda_stream, params);
  } else {
    launch(embedding_bag_kernel<scalar_t, stat_t, 1>, grid, block, 0, cuda_stream, params);
  }
}

template <typename scalar_t, typename stat_t>
void launch_embedding_bag_weights(const EmbeddingBagWeightsParams<scalar_t, stat_t>& params,
                                  void* stream) {
  if (params.bags.ids_count == 0) return;
  launch(embedding_bag_weights_kernel<scalar_t, stat_t>,
         dim3(blocks_for(params.bags.ids_count, kRowWarps)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), params);
}

void launch_embedding_bag_keys(const Bags& bags, int64_t rows, int32_t* keys, int32_t* occurrence,
                               int32_t* bag, void* stream) {
  if (bags.ids_count == 0) return;
  launch(embedding_bag_keys_kernel, dim3(blocks_for(bags.ids_count, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), bags, rows, keys, occurrence, bag);
}

template <typename scalar_t, typename stat_t>
void launch_embedding_bag_sums(const EmbeddingBagCudaSums<scalar_t, stat_t>& sums, void* stream) {
  if (sums.count == 0 || sums.gradient.dim == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  launch(embedding_bag_parts_kernel<scalar_t, stat_t>, dim3(blocks_for(sums.count, kRowWarps)),
         dim3(kThreads), 0, cuda_stream, sums);
  if (sums.count <= kRunPart) return;  // no run goes on
  launch(embedding_bag_join_kernel<scalar_t, stat_t>,
         dim3(blocks_for(sums.count, kRunPart), blocks_for(sums.gradient.dim, kWarp)),
         dim3(kSlices * kWarp), 0, cuda_stream, sums);
}

template <typename scalar_t, typename stat_t>
void launch_embedding_renorm(const EmbeddingRenormParams<scalar_t>& params,
                             const int32_t* sorted_row, int64_t count, int64_t rows, void* stream) {
  if (count == 0) return;
  launch(embedding_renorm_kernel<scalar_t, stat_t>, dim3(blocks_for(count, kRowWarps)),
         dim3(kThreads), 0, static_cast<cudaStream_t>(stream), params, sorted_row, count, rows);
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                   \
  template void launch_embedding_bag(const EmbeddingBagParams<scalar_t, stat_t>&, void*);        \
  template void launch_embedding_bag_weights(const EmbeddingBagWeightsParams<scalar_t, stat_t>&, \
                                             void*);                                             \
  template void launch_embedding_bag_sums(const EmbeddingBagCudaSums<scalar_t, stat_t>&, void*); \
  template void launch_embedding_renorm<scalar_t, stat_t>(                                       \
      const EmbeddingRenormParams<scalar_t>&, const int32_t*, int64_t, int64_t, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
