#include <algorithm>
#include <cstdint>

#include "transformer/add_layer_norm.h"
#include "transformer/row_octets.cuh"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kThreads = 128;

// h of eight neighbours, and which of them dropout keeps: all without it.
template <typename Params>
__device__ __forceinline__ uint32_t load_sums(const Params& params, int64_t row, int64_t column,
                                              float (&h)[kOctet]) {
  const int64_t index = row * params.dim + column;
  load_octet(params.x + index, h);
  if (!params.summed && params.x_bias != nullptr) {
    float x_bias[kOctet];
    load_octet(params.x_bias + column, x_bias);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) h[i] += x_bias[i];
  }
  uint32_t kept = 0xFF;
  if (params.dropout.threshold != 0) {
    kept = keep_octet(params.dropout, index, RandomStream::kAddNorm);
    if (!params.summed) {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) h[i] = kept >> i & 1 ? h[i] * params.dropout.scale : 0.0f;
    }
  }
  if (!params.summed && params.residual != nullptr) {
    float residual[kOctet];
    load_octet(params.residual + index, residual);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) h[i] += residual[i];
  }
  return kept;
}

// h of one element, and whether dropout keeps it.
template <typename stat_t, typename Params>
__device__ __forceinline__ stat_t load_sum(const Params& params, int64_t row, int64_t column,
                                           bool& kept) {
  const int64_t index = row * params.dim + column;
  stat_t h = number(params.x[index]);
  if (!params.summed && params.x_bias != nullptr) h += params.x_bias[column];
  kept = true;
  if (params.dropout.threshold != 0) {
    kept = dropout_keeps(static_cast<uint64_t>(*params.dropout.seed), params.dropout.threshold,
                         static_cast<uint64_t>(index), RandomStream::kAddNorm);
    if (!params.summed) h = kept ? h * params.dropout.scale : stat_t(0);
  }
  if (!params.summed && params.residual != nullptr) h += number(params.residual[index]);
  return h;
}

// h as it is stored.
template <typename scalar_t, typename stat_t>
__device__ __forceinline__ stat_t rounded(stat_t h) {
  if constexpr (sizeof(scalar_t) < sizeof(stat_t)) {
    scalar_t stored;
    store_number(&stored, h);
    h = number(stored);
  }
  return h;
}

// ---- kernels ------------------------------------------------------------------------------------

// A row in the registers of kLanes threads: thread l has its octets l, l + kLanes, ... It is read
// once and written once, which is what binds it. Four blocks are asked for: by itself nvcc 13.0 makes
// room for more, and spills.
template <typename scalar_t, int kLanes, int kOctets>
__global__ void __launch_bounds__(kThreads, 4)
    add_layer_norm_kernel(AddLayerNormParams<scalar_t, float> params) {
  __shared__ float shared[2][kLanes > kWarp ? kLanes / kWarp : 1][1];
  RowSums<kLanes, 1, float> row_sum{shared};
  const int64_t row = int64_t{blockIdx.x} * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const bool wanted = row < params.rows;
  const auto inverse_dim = 1.0f / static_cast<float>(params.dim);

  float h[kOctets][kOctet], sum[1] = {}, squares[1] = {};
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    const int64_t column = kOctet * (lane + o * kLanes);
    if (!wanted || column >= params.dim) continue;
    load_sums(params, row, column, h[o]);
    if (params.sum != nullptr) {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) h[o][i] = rounded<scalar_t>(h[o][i]);
      store_octet(params.sum + row * params.dim + column, h[o]);
    }
#pragma unroll
    for (int i = 0; i < kOctet; ++i) sum[0] += h[o][i];
  }
  row_sum(sum);
  const float mean = sum[0] * inverse_dim;
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    if (!wanted || kOctet * (lane + o * kLanes) >= params.dim) continue;
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      h[o][i] -= mean;
      squares[0] += h[o][i] * h[o][i];
    }
  }
  row_sum(squares);
  const float rstd = 1.0f / sqrtf(squares[0] * inverse_dim + static_cast<float>(params.eps));
  if (!wanted) return;
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    const int64_t column = kOctet * (lane + o * kLanes);
    if (column >= params.dim) continue;
    float weight[kOctet], bias[kOctet];
    load_octet(params.weight + column, weight);
    load_octet(params.bias + column, bias);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) h[o][i] = h[o][i] * rstd * weight[i] + bias[i];
    store_octet(params.y + row * params.dim + column, h[o]);
  }
  if (lane == 0) {
    params.mean[row] = mean;
    params.rstd[row] = rstd;
  }
}

// A block per group of rows, kThreads / kLanes of them at a time. A thread has the same columns of
// every row it sees and keeps their sums over rows in registers; at the end the block adds up those
// of its threads in order.
//
// A block waits for its loads before it has the row's means, so other blocks have to keep the
// memory busy: 3 loads of kOctets octets a thread are 6 KB a block in bfloat16, 12 KB in float32,
// times kOctets, and a multiprocessor wants 36 KB or more under way. 80, 128, 168 and 217 registers
// for 1 to 4 octets in bfloat16, 72, 142, 184 and 230 in float32.
template <typename scalar_t, int kOctets>
constexpr int kBackwardBlocks = kOctets == 1                                              ? 6
                                : kOctets == 2 || (kOctets == 3 && sizeof(scalar_t) == 2) ? 3
                                                                                          : 2;
template <typename scalar_t, int kLanes, int kOctets>
__global__ void __launch_bounds__(kThreads, (kBackwardBlocks<scalar_t, kOctets>))
    add_layer_norm_backward_kernel(AddLayerNormBackwardParams<scalar_t, float> params) {
  constexpr int kRows = kThreads / kLanes, kWidth = kOctet * kOctets * kLanes;
  __shared__ float shared[2][kLanes > kWarp ? kLanes / kWarp : 1][2];
  __shared__ float columns[kRows > 1 ? kRows * kWidth : 1];
  RowSums<kLanes, 2, float> row_sums{shared};
  const RowRange range = add_layer_norm_group(blockIdx.x, params.groups, params.rows);
  const int place = static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const auto inverse_dim = 1.0f / static_cast<float>(params.dim);

  float sums[3][kOctets][kOctet] = {};
  for (int64_t first = range.first; first < range.last; first += kRows) {
    const int64_t row = first + place;
    const bool wanted = row < range.last;
    const float mean = wanted ? params.mean[row] : 0.0f, rstd = wanted ? params.rstd[row] : 0.0f;
    float t[kOctets][kOctet], weighted[kOctets][kOctet], means[2] = {};
    uint32_t kept[kOctets] = {};
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      const int64_t column = kOctet * (lane + o * kLanes);
      if (!wanted || column >= params.dim) continue;
      float g[kOctet], weight[kOctet];
      load_octet(params.grad_y + row * params.dim + column, g);
      kept[o] = load_sums(params, row, column, t[o]);
      load_octet(params.weight + column, weight);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        t[o][i] = (t[o][i] - mean) * rstd;
        weighted[o][i] = g[i] * weight[i];
        sums[0][o][i] += g[i] * t[o][i];
        sums[1][o][i] += g[i];
        means[0] += weighted[o][i];
        means[1] += weighted[o][i] * t[o][i];
      }
    }
    row_sums(means);
    const float a = means[0] * inverse_dim, b = means[1] * inverse_dim;
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      const int64_t column = kOctet * (lane + o * kLanes);
      if (!wanted || column >= params.dim) continue;
      const int64_t index = row * params.dim + column;
      float grad[kOctet];
#pragma unroll
      for (int i = 0; i < kOctet; ++i) grad[i] = rstd * (weighted[o][i] - a - t[o][i] * b);
      if (params.grad_sum != nullptr) {
        float more[kOctet];
        load_octet(params.grad_sum + index, more);
#pragma unroll
        for (int i = 0; i < kOctet; ++i) grad[i] += more[i];
      }
      if (params.grad_residual != nullptr) store_octet(params.grad_residual + index, grad);
      if (params.dropout.threshold != 0) {
#pragma unroll
        for (int i = 0; i < kOctet; ++i) {
          grad[i] = kept[o] >> i & 1 ? grad[i] * params.dropout.scale : 0.0f;
        }
      }
      if (params.grad_x != nullptr) store_octet(params.grad_x + index, grad);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) sums[2][o][i] += grad[i];
    }
  }

#pragma unroll
  for (int which = 0; which < 3; ++which) {
    if (which == 2 && params.grad_x_bias == nullptr) break;
    float* partial = params.partial + (3 * int64_t{blockIdx.x} + which) * params.dim;
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      const int column = kOctet * (lane + o * kLanes);
      if (column >= params.dim) continue;
      store_octet(kRows > 1 ? columns + place * kWidth + column : partial + column, sums[which][o]);
    }
    if constexpr (kRows > 1) {
      __syncthreads();
      for (int column = static_cast<int>(threadIdx.x); column < params.dim; column += kThreads) {
        float sum = 0;
#pragma unroll
        for (int r = 0; r < kRows; ++r) sum += columns[r * kWidth + column];
        partial[column] = sum;
      }
      __syncthreads();
    }
  }
}

// Rows of any length and alignment, in any precision: a block per row, element by element, with h
// made again in every pass.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    add_layer_norm_general_kernel(AddLayerNormParams<scalar_t, stat_t> params) {
  __shared__ stat_t shared[2][kThreads / kWarp][1];
  RowSums<kThreads, 1, stat_t> row_sum{shared};
  const auto dim = static_cast<stat_t>(params.dim);
  bool kept;
  for (int64_t row = blockIdx.x; row < params.rows; row += gridDim.x) {
    stat_t sum[1] = {}, squares[1] = {};
    const auto h = [&](int64_t column) {
      const stat_t sum = load_sum<stat_t>(params, row, column, kept);
      return params.sum == nullptr ? sum : rounded<scalar_t>(sum);
    };
    for (int64_t column = threadIdx.x; column < params.dim; column += kThreads) {
      sum[0] += h(column);
    }
    row_sum(sum);
    const stat_t mean = sum[0] / dim;
    for (int64_t column = threadIdx.x; column < params.dim; column += kThreads) {
      const stat_t centred = h(column) - mean;
      squares[0] += centred * centred;
    }
    row_sum(squares);
    const stat_t rstd = stat_t(1) / sqrt(squares[0] / dim + static_cast<stat_t>(params.eps));
    for (int64_t column = threadIdx.x; column < params.dim; column += kThreads) {
      const stat_t t = (h(column) - mean) * rstd;
      if (params.sum != nullptr) store_number(params.sum + row * params.dim + column, h(column));
      store_number(params.y + row * params.dim + column,
                   t * params.weight[column] + params.bias[column]);
    }
    if (threadIdx.x == 0) {
      params.mean[row] = mean;
      params.rstd[row] = rstd;
    }
  }
}

// A block per group of rows, row by row; the sums over rows are kept in `partial`.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    add_layer_norm_general_backward_kernel(AddLayerNormBackwardParams<scalar_t, stat_t> params) {
  __shared__ stat_t shared[2][kThreads / kWarp][2];
  RowSums<kThreads, 2, stat_t> row_sums{shared};
  const RowRange range = add_layer_norm_group(blockIdx.x, params.groups, params.rows);
  const auto dim = static_cast<stat_t>(params.dim);
  stat_t* sums = params.partial + 3 * int64_t{blockIdx.x} * params.dim;
  bool kept;
  for (int64_t column = threadIdx.x; column < params.dim; column += kThreads) {
    sums[column] = sums[params.dim + column] = sums[2 * params.dim + column] = 0;
  }
  for (int64_t row = range.first; row < range.last; ++row) {
    const stat_t mean = params.mean[row], rstd = params.rstd[row];
    stat_t means[2] = {};
    for (int64_t column = threadIdx.x; column < params.dim; column += kThreads) {
      const stat_t t = (load_sum<stat_t>(params, row, column, kept) - mean) * rstd;
      const stat_t g = number(params.grad_y[row * params.dim + column]);
      sums[column] += g * t;
      sums[params.dim + column] += g;
      means[0] += g * params.weight[column];
      means[1] += g * params.weight[column] * t;
    }
    row_sums(means);
    const stat_t a = means[0] / dim, b = means[1] / dim;
    for (int64_t column = threadIdx.x; column < params.dim; column += kThreads) {
      const int64_t index = row * params.dim + column;
      const stat_t t = (load_sum<stat_t>(params, row, column, kept) - mean) * rstd;
      stat_t grad = rstd * (number(params.grad_y[index]) * params.weight[column] - a - t * b);
      if (params.grad_sum != nullptr) grad += number(params.grad_sum[index]);
      if (params.grad_residual != nullptr) store_number(params.grad_residual + index, grad);
      if (params.dropout.threshold != 0) grad = kept ? grad * params.dropout.scale : stat_t(0);
      if (params.grad_x != nullptr) store_number(params.grad_x + index, grad);
      sums[2 * params.dim + column] += grad;
    }
  }
}

// ---- launchers ----------------------------------------------------------------------------------

constexpr int64_t kMaxBlocks = int64_t{1} << 20;

// A group has at least so many rows, and there are at most as many groups as blocks that the
// multiprocessors of an H100 hold at a time. Those of other devices hold as many: sums depend on
// the problem alone.
constexpr int64_t kRowsPerGroup = 8, kMultiprocessors = 132;

}  // namespace

template <typename scalar_t>
int64_t add_layer_norm_groups(int64_t rows, int64_t dim) {
  int64_t blocks = 3;  // of the general kernel
  if (dim % kOctet == 0 && dim <= kMaxRegisterDim) {
    with_row_shape(dim, [&](auto shape) { blocks = kBackwardBlocks<scalar_t, shape.kOctets>; });
  }
  return std::clamp<int64_t>(rows / kRowsPerGroup, 1, blocks * kMultiprocessors);
}

template <typename scalar_t, typename stat_t>
void launch_add_layer_norm(const AddLayerNormParams<scalar_t, stat_t>& params, void* stream) {
  if (params.rows == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if constexpr (sizeof(stat_t) == sizeof(float)) {
    if (in_octets(params.dim, params.x, params.residual, params.x_bias, params.weight, params.bias,
                  params.sum, params.y)) {
      with_row_shape(params.dim, [&](auto shape) {
        launch(add_layer_norm_kernel<scalar_t, shape.kLanes, shape.kOctets>,
               dim3(blocks_for(params.rows, kThreads / shape.kLanes)), dim3(kThreads), 0,
               cuda_stream, params);
      });
      return;
    }
  }
  const int64_t blocks = params.rows < kMaxBlocks ? params.rows : kMaxBlocks;
  launch(add_layer_norm_general_kernel<scalar_t, stat_t>, dim3(static_cast<uint32_t>(blocks)),
         dim3(kThreads), 0, cuda_stream, params);
}

template <typename scalar_t, typename stat_t>
void launch_add_layer_norm_backward(const AddLayerNormBackwardParams<scalar_t, stat_t>& params,
                                    void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const dim3 grid(static_cast<uint32_t>(params.groups)), block(kThreads);
  bool done = false;
  if constexpr (sizeof(stat_t) == sizeof(float)) {
    if (in_octets(params.dim, params.grad_y, params.grad_sum, params.x, params.residual,
                  params.x_bias, params.weight, params.grad_x, params.grad_residual,
                  params.partial)) {
      with_row_shape(params.dim, [&](auto shape) {
        launch(add_layer_norm_backward_kernel<scalar_t, shape.kLanes, shape.kOctets>, grid, block,
               0, cuda_stream, params);
      });
      done = true;
    }
  }
  if (!done) {
    launch(add_layer_norm_general_backward_kernel<scalar_t, stat_t>, grid, block, 0, cuda_stream,
           params);
  }
  launch_sum_groups<stat_t>({.partial = params.partial,
                             .groups = params.groups,
                             .stride = 3 * params.dim,
                             .width = params.dim,
                             .to = {params.grad_weight, params.grad_bias, params.grad_x_bias}},
                            params.grad_x_bias != nullptr ? 3 : 2, cuda_stream);
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                             \
  template int64_t add_layer_norm_groups<scalar_t>(int64_t, int64_t);                      \
  template void launch_add_layer_norm(const AddLayerNormParams<scalar_t, stat_t>&, void*); \
  template void launch_add_layer_norm_backward(                                            \
      const AddLayerNormBackwardParams<scalar_t, stat_t>&, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
