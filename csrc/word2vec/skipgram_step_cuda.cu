#include "common/cuda_launch.cuh"
#include "word2vec/skipgram_rows.cuh"
#include "word2vec/skipgram_step.h"

namespace lexforge {
namespace {

constexpr int kRowThreads = kRowWarps * kWarp;
constexpr int kThreads = 256;

__device__ __forceinline__ int64_t pending_steps(const SkipgramTable& table, int64_t row,
                                                 int64_t next_step) {
  const int64_t steps = next_step - 1 - table.last[row];
  return steps < 0 ? 0 : steps > kMaxPending ? kMaxPending : steps;
}

// The row after its k pending steps of dense Adam, by one warp (skipgram_step.h).
__device__ void apply_pending(const float* row, const float* moments, int64_t stride,
                              const AdamStep& adam, int64_t k, float* result) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const float *m = moments, *v = moments + stride;
  bool beyond = false;
  for (int64_t d = lane; d < stride; d += kWarp) {
    beyond = beyond || (v[d] < adam.pending_limit[k] && m[d] != 0);
  }
  if (!__any_sync(kAllLanes, beyond)) {
    for (int64_t d = lane; d < stride; d += kWarp) {
      result[d] = row[d] - adam.pending_size[k] * (m[d] / (sqrtf(v[d]) + adam.pending_epsilon[k]));
    }
    return;
  }
  for (int64_t d = lane; d < stride; d += kWarp) {
    float p = row[d], first = m[d], second = v[d];
    for (int64_t ago = k - 1; ago >= 0; --ago) {
      first *= adam.decay1[1];
      second *= adam.decay2[1];
      p -= adam.past_size[ago] * (first / (sqrtf(second) + adam.past_epsilon[ago]));
    }
    result[d] = p;
  }
}

__global__ void __launch_bounds__(kThreads)
    skipgram_step_keys_kernel(const __grid_constant__ SkipgramStepCudaParams params,
                              int32_t* keys_v, int32_t* example, int32_t* keys_u, int32_t* slot) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < params.batch * params.length) {
    keys_u[i] = params.mask[i] != 0 ? params.target[i] : static_cast<int32_t>(params.out.size);
    slot[i] = static_cast<int32_t>(i);
  }
  if (i < params.batch) {
    bool used = false;
    for (int64_t l = 0; l < params.length && !used; ++l) {
      used = params.mask[i * params.length + l] != 0;
    }
    keys_v[i] = used ? params.center[i] : static_cast<int32_t>(params.in.size);
    example[i] = static_cast<int32_t>(i);
  }
}

// Brings the out rows of the batch up to date: one warp per occurrence, of which the first of each
// row works.
__global__ void __launch_bounds__(kRowThreads)
    skipgram_step_refresh_kernel(const __grid_constant__ SkipgramStepCudaParams params) {
  const int64_t i = global_warp();
  if (!run_starts(params.sorted_target, params.batch * params.length, params.out.size, i)) return;
  const int64_t row = params.sorted_target[i];
  const int64_t k = pending_steps(params.out, row, params.step);
  if (k == 0) return;
  float* p = params.out.rows + row * params.stride;
  apply_pending(p, params.out.moments + row * 2 * params.stride, params.stride, params.adam, k, p);
}

// One warp per example: centre row, scores, loss, errors, gradient of the centre row.
__global__ void __launch_bounds__(kRowThreads)
    skipgram_step_examples_kernel(const __grid_constant__ SkipgramStepCudaParams params) {
  const int64_t b = global_warp();
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  if (b >= params.batch) return;
  const int64_t stride = params.stride, first = b * params.length, last = first + params.length;
  const int64_t center = params.center[b];
  const float* v = params.in.rows + center * stride;
  float* current = params.center_row + b * stride;
  const int64_t pending = params.optimizer == SkipgramOptimizer::kAdam
                              ? pending_steps(params.in, center, params.step)
                              : 0;
  if (pending > 0) {
    apply_pending(v, params.in.moments + center * 2 * stride, stride, params.adam, pending,
                  current);
  } else {
    for (int64_t d = lane; d < stride; d += kWarp) current[d] = v[d];
  }

  float total = 0;
  for (int64_t slot = first + lane; slot < last; slot += kWarp) total += params.mask[slot];
  total = warp_sum(total);
  const float scale = total > 0 ? 1 / total : 0.0f;
  float loss = 0;
  for (int64_t slot = first; slot < last; ++slot) {
    const float weight = params.mask[slot] * scale;
    float error = 0;
    if (weight != 0) {
      const float x =
          warp_dot(current, params.out.rows + params.target[slot] * stride, stride, lane);
      loss += weight * cross_entropy(x, params.label[slot], error);
      error *= weight;
    }
    if (lane == 0) params.error[slot] = error;
  }
  if (lane == 0) params.loss[b] = loss;
  __syncwarp();
  for (int64_t d = lane; d < stride; d += kWarp) {
    float sum = 0;
    for (int64_t slot = first; slot < last; ++slot) {
      const float error = params.error[slot];
      if (error != 0) sum += error * params.out.rows[params.target[slot] * stride + d];
    }
    params.center_grad[b * stride + d] = sum;
  }
}

// Element d of a row: parameter p, gradient g.
__device__ __forceinline__ float update(const SkipgramStepCudaParams& params,
                                        const SkipgramTable& table, int64_t row, int64_t d,
                                        int64_t steps, float p, float g) {
  switch (params.optimizer) {
    case SkipgramOptimizer::kSgd:
      return p - params.lr * g;
    case SkipgramOptimizer::kAdagrad: {
      float& sum = table.moments[row * params.stride + d];
      sum += g * g;
      return p - params.lr * (g / (sqrtf(sum) + params.epsilon));
    }
    default: {
      const AdamStep& adam = params.adam;
      float& m = table.moments[row * 2 * params.stride + d];
      float& v = table.moments[(row * 2 + 1) * params.stride + d];
      m = adam.decay1[steps] * m + adam.fresh1 * g;
      v = adam.decay2[steps] * v + adam.fresh2 * g * g;
      return p - adam.step_size * (m / (sqrtf(v) + adam.epsilon));
    }
  }
}

// Steps by which a row's moments decay in this update.
__device__ __forceinline__ int64_t decay_steps(const SkipgramStepCudaParams& params,
                                               const SkipgramTable& table, int64_t row) {
  return params.optimizer == SkipgramOptimizer::kAdam ? pending_steps(table, row, params.step) + 1
                                                      : 1;
}

// Updates a row by its gradient: sum_at(d) is element d, called by all lanes with d < stride + 31.
// `before` is the row as it was at the step's beginning, which may be the row itself.
template <typename SumAt>
__device__ __forceinline__ void update_row(const SkipgramStepCudaParams& params,
                                           const SkipgramTable& table, int64_t row,
                                           const float* before, SumAt sum_at) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t stride = params.stride, steps = decay_steps(params, table, row);
  float* p = table.rows + row * stride;
  for (int64_t d = lane; d - lane < stride; d += kWarp) {
    const float sum = sum_at(d);
    if (d < stride) p[d] = update(params, table, row, d, steps, before[d], sum);
  }
  __syncwarp();
  if (lane == 0 && params.optimizer == SkipgramOptimizer::kAdam) {
    table.last[row] = static_cast<int32_t>(params.step);
  }
}

// One warp per occurrence, of which the first of each part works: it updates the row, or keeps the
// part's sum.
template <typename SumAt>
__device__ __forceinline__ void use_part(const SkipgramStepCudaParams& params,
                                         const SkipgramTable& table, const RunPart& part,
                                         int64_t row, const float* before, SumAt sum_at) {
  if (part.whole) {
    update_row(params, table, row, before, sum_at);
    return;
  }
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  float* partial = params.partial + part.partial * params.stride;
  for (int64_t d = lane; d - lane < params.stride; d += kWarp) {
    const float sum = sum_at(d);
    if (d < params.stride) partial[d] = sum;
  }
}

__global__ void __launch_bounds__(kRowThreads)
    skipgram_step_update_out_kernel(const __grid_constant__ SkipgramStepCudaParams params) {
  const int64_t i = global_warp(), n = params.batch * params.length;
  const RunPart part = run_part_at(params.sorted_target, n, params.out.size, i);
  if (part.count == 0) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  int32_t example = 0;
  float error = 0;
  if (lane < part.count) {
    const int32_t slot = params.sorted_slot[i + lane];
    // Slots are 32-bit numbers; a 64-bit division would be a call that spills registers.
    example =
        static_cast<int32_t>(static_cast<uint32_t>(slot) / static_cast<uint32_t>(params.length));
    error = params.error[slot];
  }
  const int64_t row = params.sorted_target[i];
  use_part(params, params.out, part, row, params.out.rows + row * params.stride, [&](int64_t d) {
    return sum_rows(params.center_row, params.stride, d, part.count, example, error);
  });
}

__global__ void __launch_bounds__(kRowThreads)
    skipgram_step_update_in_kernel(const __grid_constant__ SkipgramStepCudaParams params) {
  const int64_t i = global_warp();
  const RunPart part = run_part_at(params.sorted_center, params.batch, params.in.size, i);
  if (part.count == 0) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int32_t example = lane < part.count ? params.sorted_example[i + lane] : 0;
  const int64_t first = params.sorted_example[i];
  const float* before = params.center_row + first * params.stride;
  use_part(params, params.in, part, params.sorted_center[i], before, [&](int64_t d) {
    return sum_rows(params.center_grad, params.stride, d, part.count, example, 1.0f);
  });
}

// One warp for every kRunPart occurrences: updates the row whose run starts there and goes on.
__global__ void __launch_bounds__(kRowThreads)
    skipgram_step_join_out_kernel(const __grid_constant__ SkipgramStepCudaParams params) {
  const int64_t c = global_warp(), n = params.batch * params.length;
  const int64_t parts = run_parts_from(params.sorted_target, n, params.out.size, c);
  if (parts == 0) return;
  const int64_t row = params.sorted_target[(c + 1) * kRunPart];
  update_row(params, params.out, row, params.out.rows + row * params.stride, [&](int64_t d) {
    return d < params.stride ? sum_parts(params.partial, params.stride, c, parts, d) : 0.0f;
  });
}

__global__ void __launch_bounds__(kRowThreads)
    skipgram_step_join_in_kernel(const __grid_constant__ SkipgramStepCudaParams params) {
  const int64_t c = global_warp();
  const int64_t parts = run_parts_from(params.sorted_center, params.batch, params.in.size, c);
  if (parts == 0) return;
  const int64_t member = (c + 1) * kRunPart;
  const float* before = params.center_row + params.sorted_example[member] * params.stride;
  update_row(params, params.in, params.sorted_center[member], before, [&](int64_t d) {
    return d < params.stride ? sum_parts(params.partial, params.stride, c, parts, d) : 0.0f;
  });
}

__global__ void __launch_bounds__(kRowThreads)
    skipgram_sync_kernel(SkipgramTable table, int64_t stride, const __grid_constant__ AdamStep adam,
                         int64_t step) {
  const int64_t row = global_warp();
  if (row >= table.size) return;
  const int64_t k = pending_steps(table, row, step + 1);
  if (k == 0) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  float* p = table.rows + row * stride;
  float* m = table.moments + row * 2 * stride;
  apply_pending(p, m, stride, adam, k, p);
  for (int64_t d = lane; d < stride; d += kWarp) {
    m[d] *= adam.decay1[k];
    m[stride + d] *= adam.decay2[k];
  }
  __syncwarp();
  if (lane == 0) table.last[row] = static_cast<int32_t>(step);
}

}  // namespace

void launch_skipgram_step_keys(const SkipgramStepCudaParams& params, int32_t* keys_v,
                               int32_t* example, int32_t* keys_u, int32_t* slot, void* stream) {
  const int64_t n = params.batch * (params.length > 0 ? params.length : 1);
  if (n == 0) return;
  launch(skipgram_step_keys_kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), params, keys_v, example, keys_u, slot);
}

void launch_skipgram_step(const SkipgramStepCudaParams& params, void* stream) {
  if (params.batch == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const dim3 block(kRowThreads), examples(blocks_for(params.batch, kRowWarps));
  const dim3 slots(blocks_for(params.batch * params.length, kRowWarps));
  if (params.optimizer == SkipgramOptimizer::kAdam) {
    launch(skipgram_step_refresh_kernel, slots, block, 0, cuda_stream, params);
  }
  launch(skipgram_step_examples_kernel, examples, block, 0, cuda_stream, params);
  // `partial` serves one table after the other. Among kRunPart occurrences no run goes on.
  const auto parts = [](int64_t n) { return dim3(blocks_for(n, kRunPart * kRowWarps)); };
  launch(skipgram_step_update_out_kernel, slots, block, 0, cuda_stream, params);
  if (params.batch * params.length > kRunPart) {
    launch(skipgram_step_join_out_kernel, parts(params.batch * params.length), block, 0,
           cuda_stream, params);
  }
  launch(skipgram_step_update_in_kernel, examples, block, 0, cuda_stream, params);
  if (params.batch > kRunPart) {
    launch(skipgram_step_join_in_kernel, parts(params.batch), block, 0, cuda_stream, params);
  }
}

void launch_skipgram_sync(const SkipgramTable& table, int64_t stride, const AdamStep& adam,
                          int64_t step, void* stream) {
  if (table.size == 0) return;
  launch(skipgram_sync_kernel, dim3(blocks_for(table.size, kRowWarps)), dim3(kRowThreads), 0,
         static_cast<cudaStream_t>(stream), table, stride, adam, step);
}

}  // namespace lexforge
