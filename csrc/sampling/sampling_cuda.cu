#include "common/cuda_launch.cuh"
#include "sampling/alias_build.h"
#include "sampling/sampling.h"

namespace lexforge {
namespace {

// ---- build_alias ----

constexpr int kBuildThreads = 512;

template <typename T, typename Combine>
__device__ T block_reduce(T value, T* shared, Combine combine) {
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = value;
  __syncthreads();
  for (int step = kBuildThreads / 2; step > 0; step /= 2) {
    if (thread < step) shared[thread] = combine(shared[thread], shared[thread + step]);
    __syncthreads();
  }
  const T result = shared[0];
  __syncthreads();
  return result;
}

// Sum over the threads before this one.
template <typename T>
__device__ T block_exclusive_sum(T value, T* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = value;
  __syncthreads();
  for (int step = 1; step < kBuildThreads; step *= 2) {
    const T before = thread >= step ? shared[thread - step] : T{};
    __syncthreads();
    shared[thread] = shared[thread] + before;
    __syncthreads();
  }
  const T result = thread > 0 ? shared[thread - 1] : T{};
  __syncthreads();
  return result;
}

struct Largest {
  double weight;
  int64_t index;
};

struct Split {
  int64_t lights;
  uint64_t lacking, spare;
};

__device__ Split operator+(const Split& a, const Split& b) {
  return {a.lights + b.lights, a.lacking + b.lacking, a.spare + b.spare};
}

__device__ Split split_of(uint64_t share) {
  return share < kAliasUnit ? Split{1, kAliasUnit - share, 0} : Split{0, 0, share - kAliasUnit};
}

// Shares, and lights and heavies with their running sums (sampling.h).
//
//   order   [V + 1]  lights, then heavies, both ascending; then the number of lights
//   running [V]      D_i of the lights, then H_j of the heavies
//
// One block, a run of the weights to each thread: a table is built once per training and drawn from
// billions of times, and one block needs no second pass to agree on sums.
template <typename scalar_t>
__global__ void __launch_bounds__(kBuildThreads)
    alias_shares_kernel(const scalar_t* weights, int64_t size, uint64_t* shares, uint64_t* running,
                        int32_t* order) {
  __shared__ Largest largest_buffer[kBuildThreads];
  __shared__ AliasSum sum_buffer[kBuildThreads];
  __shared__ uint64_t count_buffer[kBuildThreads];
  __shared__ Split split_buffer[kBuildThreads];
  const int64_t run = (size + kBuildThreads - 1) / kBuildThreads;
  const int64_t begin = min(size, run * static_cast<int64_t>(threadIdx.x));
  const int64_t end = min(size, begin + run);

  Largest largest = {-1.0, 0};
  for (int64_t i = begin; i < end; ++i) {
    if (weights[i] > largest.weight) largest = {static_cast<double>(weights[i]), i};
  }
  largest = block_reduce(largest, largest_buffer, [](const Largest& a, const Largest& b) {
    return b.weight > a.weight ? b : a;  // the lower index of equals
  });

  const int scale = alias_scale(largest.weight);
  AliasSum sum = {0, 0};
  for (int64_t i = begin; i < end; ++i) alias_add(sum, alias_scaled(weights[i], scale));
  sum = block_reduce(sum, sum_buffer, [](const AliasSum& a, const AliasSum& b) {
    return AliasSum{a.high + b.high, a.low + b.low};
  });

  const double total = alias_total(sum);
  uint64_t given = 0;
  for (int64_t i = begin; i < end; ++i) {
    shares[i] = alias_share(alias_scaled(weights[i], scale), total, size);
    given += shares[i];
  }
  given = block_reduce(given, count_buffer, [](uint64_t a, uint64_t b) { return a + b; });
  if (threadIdx.x == 0) shares[largest.index] += static_cast<uint64_t>(size) * kAliasUnit - given;
  __syncthreads();

  Split split = {0, 0, 0};
  for (int64_t i = begin; i < end; ++i) split = split + split_of(shares[i]);
  Split before = block_exclusive_sum(split, split_buffer);
  const int64_t lights = block_reduce(static_cast<uint64_t>(split.lights), count_buffer,
                                      [](uint64_t a, uint64_t b) { return a + b; });
  if (threadIdx.x == 0) order[size] = static_cast<int32_t>(lights);
  for (int64_t i = begin; i < end; ++i) {
    const Split after = before + split_of(shares[i]);
    const bool light = after.lights > before.lights;
    const int64_t place = light ? before.lights : lights + i - before.lights;
    order[place] = static_cast<int32_t>(i);
    running[place] = light ? before.lacking : after.spare;
    before = after;
  }
}

// First of the ascending values [0, n) that is at least `bound`; n when there is none.
__device__ int64_t first_at_least(const uint64_t* values, int64_t n, uint64_t bound) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (values[middle] < bound) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// One thread per entry, found by one binary search.
__global__ void alias_entries_kernel(int64_t size, const uint64_t* shares, const uint64_t* running,
                                     const int32_t* order, AliasEntry* table) {
  const int64_t place = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= size) return;
  const int64_t lights = order[size], heavies = size - lights;
  const uint32_t index = static_cast<uint32_t>(order[place]);
  const uint64_t* spare = running + lights;
  uint64_t threshold;
  int64_t heavy;  // whose index is the alias
  if (place < lights) {
    threshold = shares[index];
    heavy = first_at_least(spare, heavies, running[place] + 1);
  } else {
    heavy = place - lights;
    const int64_t light = first_at_least(running, lights, spare[heavy]);
    const uint64_t lacking = light < lights ? running[light] : spare[heavies - 1];
    threshold = kAliasUnit + spare[heavy] - lacking;
    ++heavy;
  }
  // Exact shares leave no light without a heavy, and only the last heavy without a next one.
  const bool own = threshold >= kAliasUnit || heavy >= heavies;
  table[index] = own ? AliasEntry{0xFFFFFFFFu, index}
                     : AliasEntry{static_cast<uint32_t>(threshold),
                                  static_cast<uint32_t>(order[lights + heavy])};
}

// ---- alias_sample and sample_noise ----

constexpr int kThreads = 256;

template <typename index_t>
struct alignas(2 * sizeof(index_t)) DrawPair {
  index_t first, second;
};

// One thread per quad: two draws, stored together where the pair is aligned. Bound by the random
// reads of the table, one 32-byte sector each.
template <typename index_t>
__global__ void __launch_bounds__(kThreads)
    alias_sample_kernel(AliasSampleParams params, int64_t n, index_t* out) {
  const uint64_t thread = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const uint64_t position = (params.offset >> 1) + thread;
  const PhiloxQuad quad = philox_at(params.seed, 0, position, RandomStream::kAliasSample, 0);
  const int64_t e = static_cast<int64_t>(2 * thread) - static_cast<int64_t>(params.offset & 1);
  const uint32_t size = static_cast<uint32_t>(params.size);
  if (e >= 0 && e + 1 < n && (e & 1) == 0) {
    *reinterpret_cast<DrawPair<index_t>*>(out + e) = {
        alias_draw(params.table, size, quad.word[0], quad.word[1]),
        alias_draw(params.table, size, quad.word[2], quad.word[3])};
    return;
  }
  if (e >= 0 && e < n) out[e] = alias_draw(params.table, size, quad.word[0], quad.word[1]);
  if (e + 1 < n) out[e + 1] = alias_draw(params.table, size, quad.word[2], quad.word[3]);
}

// 16 threads to a row, which share its draws by quads: a centre's contexts times K are some 30
// draws. Tries after the first are rare and stay with their thread.
constexpr int kThreadsPerRow = 16;

__global__ void __launch_bounds__(kThreads) sample_noise_kernel(SampleNoiseParams params) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t row = thread / kThreadsPerRow;
  if (row >= params.rows) return;
  // The offsets were not looked at on the host.
  const int64_t begin = max(int64_t{0}, min(params.count, params.offsets[row]));
  const int64_t end = max(begin, min(params.count, params.offsets[row + 1]));
  const int32_t* positives = params.positives + begin;
  const int64_t count = end - begin, n = params.negatives * count;
  int32_t* noise = params.noise + params.negatives * begin;
  const uint64_t position = noise_position(params, row);
  for (int64_t d = 2 * (thread % kThreadsPerRow); d < n; d += 2 * kThreadsPerRow) {
    const PhiloxQuad quad = philox_at(params.seed, params.epoch, position, RandomStream::kNoise,
                                      static_cast<uint32_t>(d >> 1));
    for (int64_t i = 0; i < 2 && d + i < n; ++i) {
      int32_t x = alias_draw(params.table, static_cast<uint32_t>(params.size), quad.word[2 * i],
                             quad.word[2 * i + 1]);
      if (is_positive(positives, count, x)) {
        x = redraw_noise(params, position, positives, count, n, d + i, x);
      }
      noise[d + i] = x;
    }
  }
}

}  // namespace

// ---- launchers ----

template <typename scalar_t>
void launch_build_alias(const scalar_t* weights, int64_t size, uint64_t* shares, int32_t* order,
                        AliasEntry* table, void* stream) {
  uint64_t* running = shares + size;
  launch(alias_shares_kernel<scalar_t>, dim3(1), dim3(kBuildThreads), 0,
         static_cast<cudaStream_t>(stream), weights, size, shares, running, order);
  launch(alias_entries_kernel, dim3(blocks_for(size, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), size, shares, running, order, table);
}

template <typename index_t>
void launch_alias_sample(const AliasSampleParams& params, int64_t n, index_t* out, void* stream) {
  if (n == 0) return;
  launch(alias_sample_kernel<index_t>, dim3(blocks_for(n / 2 + 1, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), params, n, out);
}

void launch_sample_noise(const SampleNoiseParams& params, void* stream) {
  if (params.rows == 0 || params.negatives == 0) return;
  launch(sample_noise_kernel, dim3(blocks_for(params.rows * kThreadsPerRow, kThreads)),
         dim3(kThreads), 0, static_cast<cudaStream_t>(stream), params);
}

template void launch_build_alias(const float*, int64_t, uint64_t*, int32_t*, AliasEntry*, void*);
template void launch_build_alias(const double*, int64_t, uint64_t*, int32_t*, AliasEntry*, void*);
template void launch_alias_sample(const AliasSampleParams&, int64_t, int32_t*, void*);
template void launch_alias_sample(const AliasSampleParams&, int64_t, int64_t*, void*);

}  // namespace lexforge
