#include <algorithm>

#include "common/cub.cuh"
#include "common/cuda_launch.cuh"
#include "word2vec/skipgram_loss.h"
#include "word2vec/skipgram_rows.cuh"

namespace lexforge {
namespace {

constexpr int kRowThreads = kRowWarps * kWarp;
constexpr int kThreads = 256;

// One warp per example; bound by the random reads of the target rows.
template <typename scalar_t>
__global__ void __launch_bounds__(kRowThreads)
    skipgram_loss_kernel(SkipgramLossParams<scalar_t> params, int64_t batch) {
  const int64_t b = global_warp();
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  if (b >= batch) return;
  const int64_t first = b * params.length;
  scalar_t total = 0;
  for (int64_t l = lane; l < params.length; l += kWarp) total += params.mask[first + l];
  total = warp_sum(total);
  const scalar_t scale = total > 0 ? 1 / total : scalar_t(0);
  const scalar_t* v = params.embed_v + params.center[b] * params.dim;
  scalar_t loss = 0;
  for (int64_t slot = first; slot < first + params.length; ++slot) {
    const scalar_t weight = params.mask[slot] * scale;
    scalar_t error = 0;
    if (weight != 0) {
      const scalar_t* u = params.embed_u + params.target[slot] * params.dim;
      const scalar_t x = warp_dot(v, u, params.dim, lane);
      loss += weight * cross_entropy(x, params.label[slot], error);
      error *= weight;
    }
    if (lane == 0) params.error[slot] = error;
  }
  if (lane == 0) params.loss[b] = loss;
}

template <typename scalar_t>
__global__ void __launch_bounds__(kThreads)
    skipgram_loss_keys_kernel(SkipgramLossBackwardCudaParams<scalar_t> params, int32_t* keys_v,
                              int32_t* example, int32_t* keys_u, int32_t* slot) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < params.batch * params.length) {
    keys_u[i] = params.error[i] != 0 ? params.target[i] : static_cast<int32_t>(params.rows_u);
    slot[i] = static_cast<int32_t>(i);
  }
  if (i < params.batch) {
    bool used = false;
    for (int64_t l = 0; l < params.length && !used; ++l) {
      used = params.error[i * params.length + l] != 0;
    }
    keys_v[i] = used ? params.center[i] : static_cast<int32_t>(params.rows_v);
    example[i] = static_cast<int32_t>(i);
  }
}

// Where the sum of a part goes: to the gradient's row, or among the partial sums.
template <typename scalar_t>
__device__ __forceinline__ scalar_t* part_sum(
    const SkipgramLossBackwardCudaParams<scalar_t>& params, const RunPart& part, scalar_t* grad,
    const int32_t* keys, const int32_t* run, int64_t i) {
  if (!part.whole) return params.partial + part.partial * params.dim;
  return grad + (run != nullptr ? run[i] - 1 : keys[i]) * params.dim;
}

// One warp per occurrence, of which the first of each part works.
template <typename scalar_t>
__global__ void __launch_bounds__(kRowThreads)
    skipgram_loss_grad_v_kernel(SkipgramLossBackwardCudaParams<scalar_t> params) {
  const int64_t i = global_warp();
  const RunPart part = run_part_at(params.sorted_center, params.batch, params.rows_v, i);
  if (part.count == 0) return;
  scalar_t* to = part_sum(params, part, params.grad_v, params.sorted_center, params.center_run, i);
  for (int64_t d = threadIdx.x % kWarp; d < params.dim; d += kWarp) {
    scalar_t sum = 0;
    for (int64_t member = i; member < i + part.count; ++member) {
      const int64_t b = params.sorted_example[member];
      scalar_t gradient = 0;
      for (int64_t slot = b * params.length; slot < (b + 1) * params.length; ++slot) {
        const scalar_t error = params.error[slot];
        if (error != 0) gradient += error * params.embed_u[params.target[slot] * params.dim + d];
      }
      sum += params.grad_loss[b] * gradient;
    }
    to[d] = sum;
  }
}

template <typename scalar_t>
__global__ void __launch_bounds__(kRowThreads)
    skipgram_loss_grad_u_kernel(SkipgramLossBackwardCudaParams<scalar_t> params) {
  const int64_t i = global_warp();
  const int64_t n = params.batch * params.length;
  const RunPart part = run_part_at(params.sorted_target, n, params.rows_u, i);
  if (part.count == 0) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  scalar_t* to = part_sum(params, part, params.grad_u, params.sorted_target, params.target_run, i);
  int32_t center = 0;
  scalar_t scale = 0;
  if (lane < part.count) {
    const int32_t slot = params.sorted_slot[i + lane];
    // Slots are 32-bit numbers; a 64-bit division would be a call.
    const uint32_t b = static_cast<uint32_t>(slot) / static_cast<uint32_t>(params.length);
    center = params.center[b];
    scale = params.error[slot] * params.grad_loss[b];
  }
  for (int64_t d = lane; d - lane < params.dim; d += kWarp) {
    const scalar_t sum = sum_rows(params.embed_v, params.dim, d, part.count, center, scale);
    if (d < params.dim) to[d] = sum;
  }
}

// One warp for every kRunPart occurrences: adds up the run that starts there and goes on.
template <typename scalar_t>
__global__ void __launch_bounds__(kRowThreads)
    skipgram_loss_join_kernel(const int32_t* keys, const int32_t* run, int64_t n, int64_t rows,
                              const scalar_t* partial, int64_t dim, scalar_t* grad) {
  const int64_t c = global_warp();
  const int64_t parts = run_parts_from(keys, n, rows, c);
  if (parts == 0) return;
  const int64_t last = (c + 1) * kRunPart;
  scalar_t* to = grad + (run != nullptr ? run[last] - 1 : keys[last]) * dim;
  for (int64_t d = threadIdx.x % kWarp; d < dim; d += kWarp) {
    to[d] = sum_parts(partial, dim, c, parts, d);
  }
}

__global__ void __launch_bounds__(kThreads)
    flag_runs_kernel(const int32_t* keys, int64_t n, int64_t rows, int32_t* flags) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) flags[i] = keys[i] < rows && (i == 0 || keys[i - 1] != keys[i]);
}

__global__ void __launch_bounds__(kThreads)
    list_runs_kernel(const int32_t* keys, const int32_t* run, int64_t n, int64_t rows,
                     int64_t* unique) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n && keys[i] < rows) unique[run[i] - 1] = keys[i];
}

}  // namespace

template <typename scalar_t>
void launch_skipgram_loss(const SkipgramLossParams<scalar_t>& params, int64_t batch, void* stream) {
  if (batch == 0) return;
  launch(skipgram_loss_kernel<scalar_t>, dim3(blocks_for(batch, kRowWarps)), dim3(kRowThreads), 0,
         static_cast<cudaStream_t>(stream), params, batch);
}

template <typename scalar_t>
void launch_skipgram_loss_keys(const SkipgramLossBackwardCudaParams<scalar_t>& params,
                               int32_t* keys_v, int32_t* example, int32_t* keys_u, int32_t* slot,
                               void* stream) {
  const int64_t n = params.batch * (params.length > 0 ? params.length : 1);
  if (n == 0) return;
  launch(skipgram_loss_keys_kernel<scalar_t>, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), params, keys_v, example, keys_u, slot);
}

template <typename scalar_t>
void launch_skipgram_loss_backward(const SkipgramLossBackwardCudaParams<scalar_t>& params,
                                   void* stream) {
  const int64_t slots = params.batch * params.length;
  if (slots == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const dim3 block(kRowThreads);
  // `partial` serves one table after the other.
  const auto join = [&](const int32_t* keys, const int32_t* run, int64_t n, int64_t rows,
                        scalar_t* grad) {
    if (n <= kRunPart) return;  // no run goes on
    launch(skipgram_loss_join_kernel<scalar_t>, dim3(blocks_for(n, kRunPart * kRowWarps)), block, 0,
           cuda_stream, keys, run, n, rows, params.partial, params.dim, grad);
  };
  launch(skipgram_loss_grad_v_kernel<scalar_t>, dim3(blocks_for(params.batch, kRowWarps)), block, 0,
         cuda_stream, params);
  join(params.sorted_center, params.center_run, params.batch, params.rows_v, params.grad_v);
  launch(skipgram_loss_grad_u_kernel<scalar_t>, dim3(blocks_for(slots, kRowWarps)), block, 0,
         cuda_stream, params);
  join(params.sorted_target, params.target_run, slots, params.rows_u, params.grad_u);
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                                         \
  template void launch_skipgram_loss(const SkipgramLossParams<scalar_t>&, int64_t, void*);     \
  template void launch_skipgram_loss_keys(const SkipgramLossBackwardCudaParams<scalar_t>&,     \
                                          int32_t*, int32_t*, int32_t*, int32_t*, void*);      \
  template void launch_skipgram_loss_backward(const SkipgramLossBackwardCudaParams<scalar_t>&, \
                                              void*);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
#undef LEXFORGE_INSTANTIATE

size_t skipgram_number_runs(void* storage, size_t bytes, const int32_t* keys, int64_t n,
                            int64_t rows, int32_t* flags, int32_t* run, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (storage != nullptr && n > 0) {
    launch(flag_runs_kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0, cuda_stream, keys, n,
           rows, flags);
  }
  check_cuda(
      cub::DeviceScan::InclusiveSum(storage, bytes, flags, run, static_cast<int>(n), cuda_stream),
      "number runs");
  return std::max(bytes, size_t{1});  // to CUB, no storage is the question for its size
}

void skipgram_list_runs(const int32_t* keys, const int32_t* run, int64_t n, int64_t rows,
                        int64_t* unique, void* stream) {
  if (n == 0) return;
  launch(list_runs_kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), keys, run, n, rows, unique);
}

int64_t skipgram_count_runs(const int32_t* run, int64_t n, void* stream) {
  if (n == 0) return 0;
  int32_t count = 0;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  check_cuda(
      cudaMemcpyAsync(&count, run + n - 1, sizeof count, cudaMemcpyDeviceToHost, cuda_stream),
      "count runs");
  check_cuda(cudaStreamSynchronize(cuda_stream), "count runs");
  return count;
}

}  // namespace lexforge
