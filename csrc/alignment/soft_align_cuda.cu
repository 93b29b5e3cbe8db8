#include <algorithm>
#include <cmath>

#include "alignment/soft_align.h"
#include "common/octets.cuh"
#include "common/warp.cuh"

namespace lexforge {
namespace {

// Both kernels: a block has up to kTile tokens of one text and goes through the tokens of the other
// text of its pair, kTile at a time. The scores of its tokens with all of these stay in shared
// memory, so it holds fewer tokens where the other text may be long. Blocks of blockIdx.y = 0 align
// first texts, of 1 second texts: each direction computes the scores again, which costs less than
// blocks would that wait for each other, and gives twice as many of them.
//
// 64 threads have 2 x 2 entries of a tile of scores each: four reads of 16 bytes from shared memory
// for 16 multiplications. Texts are short, and a block's two warps wait for memory most of the time:
// many blocks share a multiprocessor, 14 by shared memory with texts of up to 50 tokens. Registers
// (ptxas -v, sm_90): 40 forward; 168 backward, of which there is room for six blocks, which is what
// 256 pairs need.
constexpr int kTile = 16, kSide = 8, kPer = kTile / kSide, kThreads = kSide * kSide;
constexpr int kDepth = 64;          // elements of rows that are in shared memory at a time
constexpr int kGroup = 4;           // rows of a result that a thread sums at a time
constexpr int kBudget = 96 * 1024;  // bytes of shared memory

template <typename T>
struct alignas(16) Vector {
  static constexpr int kSize = 16 / sizeof(T);
  T at[kSize];
};

// Padded by one vector: the rows of eight threads begin in different banks.
template <typename T>
constexpr int kStride = kDepth + Vector<T>::kSize;

// The rows of a text, from its token `first` on.
template <typename scalar_t>
__device__ __forceinline__ AlignRows<scalar_t> from(const AlignRows<scalar_t>& rows,
                                                    int64_t first) {
  return {rows.data + first * rows.stride, rows.stride};
}

// Rows of a block, and of the text that they are aligned with.
struct Part {
  PackedSpan text, other;
  int first, rows;  // of the text; none if rows <= 0
};

__device__ __forceinline__ Part part_of(const SoftAlignShape& shape, uint32_t blocks_per_pair,
                                        uint32_t first_pair, int block_rows) {
  const uint32_t pair = first_pair + blockIdx.x / blocks_per_pair;
  const PackedSpan a = first_text(shape, pair), b = second_text(shape, pair);
  const bool of_first = blockIdx.y == 0;
  const PackedSpan text = of_first ? a : b;
  const int first = static_cast<int>(blockIdx.x % blocks_per_pair) * block_rows;
  return {text, of_first ? b : a, first, min(block_rows, static_cast<int>(text.length) - first)};
}

// Elements first ... first + kDepth - 1 of `count` rows, zeros around them.
template <typename scalar_t, typename stat_t>
__device__ __forceinline__ void fetch(stat_t* tile, const AlignRows<const scalar_t>& rows,
                                      int count, int first, int dim) {
  static_assert(kThreads == kDepth);
  const int column = static_cast<int>(threadIdx.x);
#pragma unroll 8
  for (int r = 0; r < kTile; ++r) {
    const bool there = r < count && first + column < dim;
    tile[r * kStride<stat_t> + column] =
        there ? number(rows.data[r * rows.stride + first + column]) : stat_t(0);
  }
}

// dots[i][c] = dot(x row y + 8 i, z row x + 8 c) for thread (y, x). All threads call it.
template <typename scalar_t, typename stat_t>
__device__ __forceinline__ void tile_dots(stat_t (&dots)[kPer][kPer], stat_t* left, stat_t* right,
                                          const AlignRows<const scalar_t>& x, int rows,
                                          const AlignRows<const scalar_t>& z, int columns,
                                          int dim) {
  const int at_x = static_cast<int>(threadIdx.x) % kSide;
  const int at_y = static_cast<int>(threadIdx.x) / kSide;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
#pragma unroll
    for (int c = 0; c < kPer; ++c) dots[i][c] = 0;
  }
  for (int first = 0; first < dim; first += kDepth) {
    __syncthreads();
    fetch(left, x, rows, first, dim);
    fetch(right, z, columns, first, dim);
    __syncthreads();
#pragma unroll 4
    for (int d = 0; d < kDepth; d += Vector<stat_t>::kSize) {
      Vector<stat_t> l[kPer], r[kPer];
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        l[i] = *reinterpret_cast<const Vector<stat_t>*>(left +
                                                        (at_y + kSide * i) * kStride<stat_t> + d);
        r[i] = *reinterpret_cast<const Vector<stat_t>*>(right +
                                                        (at_x + kSide * i) * kStride<stat_t> + d);
      }
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
#pragma unroll
        for (int c = 0; c < kPer; ++c) {
#pragma unroll
          for (int e = 0; e < Vector<stat_t>::kSize; ++e) dots[i][c] += l[i].at[e] * r[c].at[e];
        }
      }
    }
  }
}

// Row r of the result = factor(r) * sum over j < count of weights[r][j] * row j. The weights are 0
// from `count` to a whole vector.
template <typename scalar_t, typename stat_t, typename Factor>
__device__ __forceinline__ void weighted_rows(const AlignRows<scalar_t>& result,
                                              const stat_t* weights, int stride, int rows,
                                              const AlignRows<const scalar_t>& of, int count,
                                              int dim, const Factor& factor) {
  const int items = dim * ((rows + kGroup - 1) / kGroup);
  for (int item = static_cast<int>(threadIdx.x); item < items; item += kThreads) {
    const int d = item % dim, first = item / dim * kGroup;
    const stat_t* weight[kGroup];
    stat_t sum[kGroup] = {};
#pragma unroll
    for (int r = 0; r < kGroup; ++r) weight[r] = weights + min(first + r, rows - 1) * stride;
    for (int j = 0; j < count; j += Vector<stat_t>::kSize) {
      stat_t value[Vector<stat_t>::kSize];
#pragma unroll
      for (int e = 0; e < Vector<stat_t>::kSize; ++e) {
        value[e] = j + e < count ? number(of.data[(j + e) * of.stride + d]) : stat_t(0);
      }
#pragma unroll
      for (int r = 0; r < kGroup; ++r) {
        const auto w = *reinterpret_cast<const Vector<stat_t>*>(weight[r] + j);
#pragma unroll
        for (int e = 0; e < Vector<stat_t>::kSize; ++e) sum[r] += w.at[e] * value[e];
      }
    }
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
      if (first + r < rows) {
        store_number(result.data + (first + r) * result.stride + d, factor(first + r) * sum[r]);
      }
    }
  }
}

template <typename scalar_t>
__device__ __forceinline__ void store_zeros(const AlignRows<scalar_t>& rows, int count, int dim) {
  using stat_t = decltype(number(scalar_t()));
  for (int i = static_cast<int>(threadIdx.x); i < count * dim; i += kThreads) {
    store_number(rows.data + i / dim * rows.stride + i % dim, stat_t(0));
  }
}

// Zeros from the end of each row of scores to a whole vector.
template <typename stat_t>
__device__ __forceinline__ void fill_ends(stat_t* scores, int stride, int rows, int count) {
  const int r = static_cast<int>(threadIdx.x) / Vector<stat_t>::kSize;
  const int j = count + static_cast<int>(threadIdx.x) % Vector<stat_t>::kSize;
  if (r < rows && j < stride) scores[r * stride + j] = 0;
}

template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    soft_align_kernel(SoftAlignParams<scalar_t, stat_t> params, uint32_t blocks_per_pair,
                      uint32_t first_pair, int block_rows, int stride) {
  LEXFORGE_DYNAMIC_SHARED(stat_t, shared);
  stat_t* left = shared;
  stat_t* right = left + kTile * kStride<stat_t>;
  stat_t* inverse = right + kTile * kStride<stat_t>;  // 1 / sum of each row
  stat_t* scores = inverse + kTile;
  const SoftAlignShape& shape = params.shape;
  const Part part = part_of(shape, blocks_per_pair, first_pair, block_rows);
  if (part.rows <= 0) return;
  const bool of_first = blockIdx.y == 0;
  const int dim = static_cast<int>(shape.dim), rows = part.rows;
  const int count = static_cast<int>(part.other.length);
  const int64_t token = part.text.first + part.first;
  const auto aligned = from(of_first ? params.beta : params.alpha, token);
  stat_t* tops = (of_first ? params.stats_a : params.stats_b) + token;
  stat_t* sums = tops + (of_first ? shape.tokens_a : shape.tokens_b);
  const int thread = static_cast<int>(threadIdx.x);
  if (count == 0) {
    store_zeros(aligned, rows, dim);
    if (thread < rows) {
      tops[thread] = -INFINITY;
      sums[thread] = 0;
    }
    return;
  }
  const auto x = from(of_first ? params.f_a : params.f_b, token);
  const auto z = from(of_first ? params.f_b : params.f_a, part.other.first);
  for (int first = 0; first < count; first += kTile) {
    stat_t dots[kPer][kPer];
    tile_dots(dots, left, right, x, rows, from(z, first), min(kTile, count - first),
              static_cast<int>(shape.feature_dim));
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int r = thread / kSide + kSide * i;
#pragma unroll
      for (int c = 0; c < kPer; ++c) {
        const int j = first + thread % kSide + kSide * c;
        if (r < rows && j < count) scores[r * stride + j] = dots[i][c];
      }
    }
  }
  __syncthreads();
  const int lane = thread % kWarp;
  for (int r = thread / kWarp; r < rows; r += kThreads / kWarp) {
    stat_t* row = scores + r * stride;
    stat_t top = -INFINITY, sum = 0;
    for (int j = lane; j < count; j += kWarp) top = row[j] > top ? row[j] : top;
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const stat_t other = __shfl_xor_sync(kAllLanes, top, step);
      top = other > top ? other : top;
    }
    for (int j = lane; j < count; j += kWarp) {
      row[j] = exp(row[j] - top);
      sum += row[j];
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      tops[r] = top;
      sums[r] = sum;
      inverse[r] = 1 / sum;
    }
  }
  fill_ends(scores, stride, rows, count);
  __syncthreads();
  weighted_rows(aligned, scores, stride, rows,
                from(of_first ? params.b : params.a, part.other.first), count, dim,
                [&](int r) { return inverse[r]; });
}

// The gradients of a block's features and values.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads, 6)
    soft_align_backward_kernel(SoftAlignBackwardParams<scalar_t, stat_t> params,
                               uint32_t blocks_per_pair, uint32_t first_pair, int block_rows,
                               int stride) {
  LEXFORGE_DYNAMIC_SHARED(stat_t, shared);
  stat_t* left = shared;
  stat_t* right = left + kTile * kStride<stat_t>;
  stat_t* delta = right + kTile * kStride<stat_t>;  // of the block's tokens
  stat_t* other_delta = delta + kTile;              // of a tile of the other text's
  stat_t* errors = other_delta + kTile;
  stat_t* weights = errors + block_rows * stride;  // softmax over the text of the block
  const SoftAlignShape& shape = params.shape;
  const Part part = part_of(shape, blocks_per_pair, first_pair, block_rows);
  if (part.rows <= 0) return;
  const bool of_first = blockIdx.y == 0;
  const int dim = static_cast<int>(shape.dim), feature_dim = static_cast<int>(shape.feature_dim);
  const int rows = part.rows, count = static_cast<int>(part.other.length);
  const int64_t token = part.text.first + part.first, other = part.other.first;
  const auto grad_features = from(of_first ? params.grad_f_a : params.grad_f_b, token);
  const auto grad_values = from(of_first ? params.grad_a : params.grad_b, token);
  if (count == 0) {
    store_zeros(grad_features, rows, feature_dim);
    store_zeros(grad_values, rows, dim);
    return;
  }
  const auto features = from(of_first ? params.f_a : params.f_b, token);
  const auto values = from(of_first ? params.a : params.b, token);
  const auto grad = from(of_first ? params.grad_beta : params.grad_alpha, token);
  const auto aligned = from(of_first ? params.beta : params.alpha, token);
  const auto other_features = from(of_first ? params.f_b : params.f_a, other);
  const auto other_values = from(of_first ? params.b : params.a, other);
  const auto other_grad = from(of_first ? params.grad_alpha : params.grad_beta, other);
  const auto other_aligned = from(of_first ? params.alpha : params.beta, other);
  const stat_t* tops = (of_first ? params.stats_a : params.stats_b) + token;
  const stat_t* sums = tops + (of_first ? shape.tokens_a : shape.tokens_b);
  const stat_t* other_tops = (of_first ? params.stats_b : params.stats_a) + other;
  const stat_t* other_sums = other_tops + (of_first ? shape.tokens_b : shape.tokens_a);

  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  // Dot products of rows of two tensors, a warp for each.
  const auto row_dots = [&](stat_t* to, const AlignRows<const scalar_t>& p,
                            const AlignRows<const scalar_t>& q, int n) {
    for (int r = warp; r < n; r += kThreads / kWarp) {
      stat_t sum = 0;
      for (int d = lane; d < dim; d += kWarp) {
        sum += number(p.data[r * p.stride + d]) * number(q.data[r * q.stride + d]);
      }
      sum = warp_sum(sum);
      if (lane == 0) to[r] = sum;
    }
  };
  row_dots(delta, grad, aligned, rows);
  for (int first = 0; first < count; first += kTile) {
    const int columns = min(kTile, count - first);
    stat_t scores[kPer][kPer], of_mine[kPer][kPer], of_other[kPer][kPer];
    tile_dots(scores, left, right, features, rows, from(other_features, first), columns,
              feature_dim);
    row_dots(other_delta, from(other_grad, first), from(other_aligned, first), columns);
    tile_dots(of_mine, left, right, grad, rows, from(other_values, first), columns, dim);
    tile_dots(of_other, left, right, values, rows, from(other_grad, first), columns, dim);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int r = thread / kSide + kSide * i;
#pragma unroll
      for (int c = 0; c < kPer; ++c) {
        const int column = thread % kSide + kSide * c, j = first + column;
        if (r >= rows || j >= count) continue;
        const stat_t mine = exp(scores[i][c] - tops[r]) / sums[r];
        const stat_t others = exp(scores[i][c] - other_tops[j]) / other_sums[j];
        errors[r * stride + j] =
            mine * (of_mine[i][c] - delta[r]) + others * (of_other[i][c] - other_delta[column]);
        weights[r * stride + j] = others;
      }
    }
  }
  fill_ends(errors, stride, rows, count);
  fill_ends(weights, stride, rows, count);
  __syncthreads();
  const auto one = [](int) { return stat_t(1); };
  weighted_rows(grad_features, errors, stride, rows, other_features, count, feature_dim, one);
  weighted_rows(grad_values, weights, stride, rows, other_grad, count, dim, one);
}

// Starts kernel(params, blocks per pair, first pair, rows of a block, row of scores) for all pairs,
// as many grids of whole pairs as it takes: only a bound of the lengths is known on the host, so
// blocks beyond the end of their text return at once.
template <typename stat_t, typename Kernel, typename Params>
void start(Kernel* kernel, const Params& params, int matrices, void* stream) {
  constexpr int64_t kMaxGrid = int64_t{1} << 30;
  constexpr int kSize = Vector<stat_t>::kSize;
  const SoftAlignShape& shape = params.shape;
  const int longest = static_cast<int>(std::max(shape.max_a, shape.max_b));
  if (longest == 0 || shape.pairs == 0) return;
  const int stride = (longest + kSize - 1) / kSize * kSize;
  const auto bytes = [&](int rows) {
    return sizeof(stat_t) *
           static_cast<size_t>(2 * kTile * kStride<stat_t> + 2 * kTile + matrices * rows * stride);
  };
  int rows = kTile;
  while (rows > 1 && bytes(rows) > kBudget) rows /= 2;
  const int64_t per_pair = (longest + rows - 1) / rows, at_once = kMaxGrid / per_pair;
  for (int64_t first = 0; first < shape.pairs; first += at_once) {
    const auto blocks = static_cast<uint32_t>(std::min(at_once, shape.pairs - first) * per_pair);
    launch(kernel, dim3(blocks, 2), kThreads, bytes(rows), static_cast<cudaStream_t>(stream),
           params, per_pair, first, rows, stride);
  }
}

}  // namespace

template <typename scalar_t, typename stat_t>
void launch_soft_align(const SoftAlignParams<scalar_t, stat_t>& params, void* stream) {
  start<stat_t>(soft_align_kernel<scalar_t, stat_t>, params, 1, stream);
}

template <typename scalar_t, typename stat_t>
void launch_soft_align_backward(const SoftAlignBackwardParams<scalar_t, stat_t>& params,
                                void* stream) {
  start<stat_t>(soft_align_backward_kernel<scalar_t, stat_t>, params, 2, stream);
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                      \
  template void launch_soft_align(const SoftAlignParams<scalar_t, stat_t>&, void*); \
  template void launch_soft_align_backward(const SoftAlignBackwardParams<scalar_t, stat_t>&, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
