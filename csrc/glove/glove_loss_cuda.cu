#include "common/cuda_launch.cuh"
#include "common/warp.cuh"
#include "glove/glove_loss.h"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kWarps = 4;  // of a block; each works on its own
constexpr int kThreads = kWarps * kWarp;

__device__ __forceinline__ int64_t warp_number() {
  return int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
}

__device__ __forceinline__ bool in_range(int32_t row, int64_t vocab_size) {
  return static_cast<uint32_t>(row) < vocab_size;
}

// ---- kernels ------------------------------------------------------------------------------------

// One warp per entry; bound by the random reads of its two rows.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) glove_loss_kernel(GloveLossParams<scalar_t> params) {
  const int64_t n = warp_number();
  if (n >= params.entries) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int32_t row = params.rows[n], col = params.cols[n];
  scalar_t e = static_cast<scalar_t>(nan("")), h = e;
  if (in_range(row, params.vocab_size) && in_range(col, params.vocab_size)) {
    const scalar_t log_x = log(params.counts[n]);
    const scalar_t log_ratio = log_x - log(static_cast<scalar_t>(params.x_max));
    // Written so that NaN stays.
    h = log_ratio >= 0 ? scalar_t(1) : exp(static_cast<scalar_t>(params.alpha) * log_ratio);
    const scalar_t dot = warp_dot(params.word + row * params.dim, params.context + col * params.dim,
                                  params.dim, lane);
    e = dot + params.word_bias[row] + params.context_bias[col] - log_x;
  }
  if (lane == 0) {
    params.loss[n] = h * e * e;
    params.slope[n] = 2 * h * e;
  }
}

// Where the warp of a chunk leaves the sum of a run: in the gradient when the run begins and ends
// in the chunk, else in one of the chunk's two partial rows.
enum : int { kHead = 0, kTail = 1 };  // a run that began before; one that begins here and goes on

// One warp per chunk of the sorted entries, however they fall into runs: a word that has a
// twentieth of all entries is summed by as many warps as any other twentieth.
// Lane l holds the elements l, l + 32, l + 64 and l + 96 of a block of 128; the bias rides along
// with the first block. Each lane describes one of 32 entries; the rows of four are read together.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads)
    glove_loss_grad_kernel(GloveLossCudaSide<scalar_t> params) {
  constexpr int kPerLane = 4, kAhead = 4;
  const GloveLossSide<scalar_t>& side = params.side;
  const int64_t chunk = warp_number(), first = chunk * kGloveLossChunk;
  if (first >= params.entries) return;
  const int64_t last = min(first + kGloveLossChunk, params.entries);
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int32_t before = first > 0 ? params.sorted_row[first - 1] : -1;
  const int32_t after = last < params.entries ? params.sorted_row[last] : -1;

  for (int64_t block = 0; block < side.dim || block == 0; block += kPerLane * kWarp) {
    scalar_t sum[kPerLane] = {}, bias = 0;
    int32_t run = -1;
    const auto finish = [&] {
      scalar_t *to = side.grad + run * side.dim, *to_bias = side.grad_bias + run;
      if (run == before || run == after) {
        to = params.partial + (2 * chunk + (run == before ? kHead : kTail)) * (side.dim + 1);
        to_bias = to + side.dim;
      }
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        const int64_t d = block + j * kWarp + lane;
        if (d < side.dim) to[d] = sum[j];
        sum[j] = 0;
      }
      if (block == 0 && lane == 0) *to_bias = bias;
      bias = 0;
    };
    for (int64_t base = first; base < last; base += kWarp) {
      int32_t my_row = static_cast<int32_t>(params.vocab_size), my_other = 0;
      scalar_t my_scale = 0;
      if (base + lane < last) {
        my_row = params.sorted_row[base + lane];
        const int32_t entry = params.sorted_entry[base + lane];
        my_scale = side.slope[entry] * side.grad_loss[entry];
        // The loss of an entry whose other row is out of range is NaN, and so is its slope.
        if (in_range(side.other_row[entry], params.vocab_size)) my_other = side.other_row[entry];
      }
      const int here = __popc(__ballot_sync(kAllLanes, my_row < params.vocab_size));
#pragma unroll 1
      for (int i = 0; i < here; i += kAhead) {
        int32_t row[kAhead];
        scalar_t scale[kAhead], value[kAhead][kPerLane];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
          const int of = min(i + a, here - 1);
          row[a] = __shfl_sync(kAllLanes, my_row, of);
          scale[a] = __shfl_sync(kAllLanes, my_scale, of);
          const scalar_t* from = side.other + __shfl_sync(kAllLanes, my_other, of) * side.dim;
#pragma unroll
          for (int j = 0; j < kPerLane; ++j) {
            const int64_t d = block + j * kWarp + lane;
            value[a][j] = d < side.dim ? from[d] : scalar_t(0);
          }
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
          if (i + a >= here) break;
          if (row[a] != run) {
            if (run >= 0) finish();
            run = row[a];
          }
#pragma unroll
          for (int j = 0; j < kPerLane; ++j) sum[j] += scale[a] * value[a][j];
          bias += scale[a];
        }
      }
    }
    if (run >= 0) finish();
  }
}

// One warp per chunk: where a run begins in it and goes on, adds up the run's parts in order.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads)
    glove_loss_join_kernel(GloveLossCudaSide<scalar_t> params) {
  const GloveLossSide<scalar_t>& side = params.side;
  const int64_t chunk = warp_number(), first = chunk * kGloveLossChunk;
  const int64_t last = first + kGloveLossChunk;
  if (last >= params.entries) return;
  const int32_t row = params.sorted_row[last];
  if (row >= params.vocab_size || params.sorted_row[last - 1] != row) return;
  if (first > 0 && params.sorted_row[first - 1] == row) return;
  int64_t end = last + 1, high = params.entries;  // the run's end
  while (end < high) {
    const int64_t middle = (end + high) / 2;
    if (params.sorted_row[middle] == row) {
      end = middle + 1;
    } else {
      high = middle;
    }
  }
  const int64_t last_chunk = (end - 1) / kGloveLossChunk;
  for (int64_t d = threadIdx.x % kWarp; d <= side.dim; d += kWarp) {
    const scalar_t* part = params.partial + d;
    scalar_t sum = part[(2 * chunk + kTail) * (side.dim + 1)];
#pragma unroll 4
    for (int64_t c = chunk + 1; c <= last_chunk; ++c) {
      sum += part[(2 * c + kHead) * (side.dim + 1)];
    }
    *(d < side.dim ? side.grad + row * side.dim + d : side.grad_bias + row) = sum;
  }
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

template <typename scalar_t>
void launch_glove_loss(const GloveLossParams<scalar_t>& params, void* stream) {
  if (params.entries == 0) return;
  launch(glove_loss_kernel<scalar_t>, dim3(blocks_for(params.entries, kWarps)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), params);
}

template <typename scalar_t>
void launch_glove_loss_grad(const GloveLossCudaSide<scalar_t>& params, void* stream) {
  if (params.entries == 0) return;
  const dim3 grid(blocks_for(params.entries, kGloveLossChunk * kWarps)), block(kThreads);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  launch(glove_loss_grad_kernel<scalar_t>, grid, block, 0, cuda_stream, params);
  launch(glove_loss_join_kernel<scalar_t>, grid, block, 0, cuda_stream, params);
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                      \
  template void launch_glove_loss(const GloveLossParams<scalar_t>&, void*); \
  template void launch_glove_loss_grad(const GloveLossCudaSide<scalar_t>&, void*);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
