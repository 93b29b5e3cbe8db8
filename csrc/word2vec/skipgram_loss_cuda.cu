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

// One warp per occurrence; the first one of a row adds up the row's whole run, in order.
template <typename scalar_t>
__global__ void __launch_bounds__(kRowThreads)
    skipgram_loss_grad_v_kernel(SkipgramLossBackwardCudaParams<scalar_t> params) {
  const int64_t i = global_warp();
  const int64_t count = run_at(params.sorted_center, params.batch, params.rows_v, i);
  if (count == 0) return;
  const int64_t row =
      params.center_run != nullptr ? params.center_run[i] - 1 : params.sorted_center[i];
  for (int64_t d = threadIdx.x % kWarp; d < params.dim; d += kWarp) {
    scalar_t sum = 0;
    for (int64_t member = i; member < i + count; ++member) {
      const int64_t b = params.sorted_example[member];
      scalar_t part = 0;
      for (int64_t slot = b * params.length; slot < (b + 1) * params.length; ++slot) {
        const scalar_t error = params.error[slot];
        if (error != 0) part += error * params.embed_u[params.target[slot] * params.dim + d];
      }
      sum += params.grad_loss[b] * part;
    }
    params.grad_v[row * params.dim + d] = sum;
  }
}

template <typename scalar_t>
__global__ void __launch_bounds__(kRowThreads)
    skipgram_loss_grad_u_kernel(SkipgramLossBackwardCudaParams<scalar_t> params) {
  const int64_t i = global_warp();
  const int64_t n = params.batch * params.length;
  const int64_t count = run_at(params.sorted_target, n, params.rows_u, i);
  if (count == 0) return;
  const int64_t row =
      params.target_run != nullptr ? params.target_run[i] - 1 : params.sorted_target[i];
  for (int64_t d = threadIdx.x % kWarp; d < params.dim; d += kWarp) {
    scalar_t sum = 0;
    for (int64_t member = i; member < i + count; ++member) {
      const int64_t slot = params.sorted_slot[member];
      const int64_t b = slot / params.length;
      sum += params.error[slot] * params.grad_loss[b] *
             params.embed_v[params.center[b] * params.dim + d];
    }
    params.grad_u[row * params.dim + d] = sum;
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
  launch(skipgram_loss_grad_v_kernel<scalar_t>, dim3(blocks_for(params.batch, kRowWarps)),
         dim3(kRowThreads), 0, static_cast<cudaStream_t>(stream), params);
  launch(skipgram_loss_grad_u_kernel<scalar_t>, dim3(blocks_for(slots, kRowWarps)),
         dim3(kRowThreads), 0, static_cast<cudaStream_t>(stream), params);
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
