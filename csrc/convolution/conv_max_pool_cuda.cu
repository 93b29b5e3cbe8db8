#include <cstdint>
#include <type_traits>

#include "common/octets.cuh"
#include "common/tensor_tiles.cuh"
#include "common/warp.cuh"
#include "convolution/conv_max_pool.h"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

// A block sums one text's positions, kTile at a time, for kTile channels.
constexpr int kTile = 64;

// The greatest sum so far, the first of equals; a NaN is greater than any number.
template <typename stat_t>
struct Greatest {
  stat_t value = 0;
  int32_t place = -1;  // none yet

  __device__ __forceinline__ void add(stat_t x, int32_t p) {
    const bool greater = x > value || (isnan(x) && !isnan(value));
    const bool earlier = p < place && (x == value || (isnan(x) && isnan(value)));
    const bool taken = p >= 0 && (place < 0 || greater || earlier);
    value = taken ? x : value;
    place = taken ? p : place;
  }
};

// The rows of x that the tokens of a text have.
template <typename scalar_t, typename stat_t>
struct TextRows {
  const ConvMaxPoolParams<scalar_t, stat_t>& params;
  const PackedSpan text;
  bool strange = false;  // whether one of them was no row

  // Of a token; null of the zeros after a text.
  __device__ __forceinline__ const scalar_t* operator()(int64_t token) {
    if (token >= text.length) return nullptr;
    const int64_t row = params.texts.row(text.first + token);
    if (row < 0 || row >= params.rows) {
      strange = true;
      return nullptr;
    }
    return params.x + row * params.dim;
  }
};

template <typename scalar_t, typename stat_t>
__device__ __forceinline__ void store_maximum(const ConvMaxPoolParams<scalar_t, stat_t>& params,
                                              int64_t channel, const Greatest<stat_t>& greatest,
                                              bool strange) {
  const int64_t cell = int64_t{blockIdx.x} * params.channels + channel;
  const stat_t bias = params.bias != nullptr ? params.bias[channel] : stat_t(0);
  const auto nan = static_cast<stat_t>(nanf(""));
  store_number(params.out + cell, strange ? nan : greatest.value + bias);
  params.place[cell] = greatest.place;
}

// ---- bfloat16: tensor cores ---------------------------------------------------------------------

constexpr int kMmaWarps = 4, kMmaThreads = kMmaWarps * kWarp, kStages = 3;
constexpr int kElements = kTile * kTile;  // of a tile: 64 rows of 64 dimensions
constexpr size_t kMmaBytes = sizeof(Bfloat16) * kStages * 2 * kElements;

using Pattern = FetchPattern<kTile, kMmaThreads>;

// Eight neighbours of a row into a tile, zeros at and beyond `dim` and of no row. `nowhere` is any
// address; with aligned rows the copy is only started.
__device__ __forceinline__ void fetch_chunk(Bfloat16* to, const Bfloat16* row, int64_t column,
                                            int64_t dim, bool aligned, const void* nowhere) {
  if (aligned) {
    const bool inside = row != nullptr && column < dim;
    copy_async<16>(to, inside ? row + column : nowhere, inside);
    return;
  }
  for (int e = 0; e < 8; ++e) {
    to[e] = row != nullptr && column + e < dim ? row[column + e] : Bfloat16{0};
  }
}

// One block per text and 64 channels: four warps, each with 32 positions x 32 channels of a tile in
// registers. A stage is one tap and 64 dimensions: 64 tokens' rows and 64 channels' filters, 16 KB,
// of which two are on their way while one is multiplied. Rows come from the second-level cache once
// for every tap, as often as the filters do.
__global__ void __launch_bounds__(kMmaThreads)
    conv_max_pool_mma_kernel(ConvMaxPoolParams<Bfloat16, float> params, bool aligned) {
  LEXFORGE_DYNAMIC_SHARED(Bfloat16, shared);
  TextRows<Bfloat16, float> rows{params, params.texts[blockIdx.x]};
  const int64_t first_channel = int64_t{blockIdx.y} * kTile;
  const int64_t positions = params.texts.positions(rows.text.length, params.taps);
  const int64_t parts = params.dim > kTile ? (params.dim + kTile - 1) / kTile : 1;
  const int64_t tiles = (positions + kTile - 1) / kTile;
  const int64_t stages = tiles * params.taps * parts;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int own_position = warp / 2 * 32, own_channel = warp % 2 * 32;
  const Pattern pattern;

  // The next stage to fetch.
  int64_t fetched = 0, fetch_part = 0, fetch_tap = 0, fetch_position = 0;
  const auto fetch = [&] {
    if (fetched < stages) {
      Bfloat16* tokens = shared + fetched % kStages * 2 * kElements + pattern.offset;
      Bfloat16* filters = tokens + kElements;
      const int64_t column = fetch_part * kTile + 8 * pattern.chunk;
#pragma unroll
      for (int i = 0; i < kTile / Pattern::kRowStep; ++i) {
        const int row = pattern.row + i * Pattern::kRowStep, at = i * Pattern::kRowStep * kTile;
        const int64_t channel = first_channel + row;
        const Bfloat16* filter =
            channel < params.channels
                ? params.weight + (fetch_tap * params.channels + channel) * params.dim
                : nullptr;
        fetch_chunk(tokens + at, rows(fetch_position + row + fetch_tap), column, params.dim,
                    aligned, params.place);
        fetch_chunk(filters + at, filter, column, params.dim, aligned, params.place);
      }
      ++fetched;
      if (++fetch_part == parts) {
        fetch_part = 0;
        if (++fetch_tap == params.taps) {
          fetch_tap = 0;
          fetch_position += kTile;
        }
      }
    }
    commit_copies();
  };
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) fetch();

  // Of the columns 8 n + 2 (lane % 4) + e. In one dimension: nvcc 13.0 would give the initial values
  // of an array of arrays to its first row alone.
  Greatest<float> greatest[8];
  float sum[2][4][4] = {};
  int64_t part = 0, tap = 0, position = 0;
  for (int64_t stage = 0; stage < stages; ++stage) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // this stage is there, and what the one before it lay in is free
    fetch();
    const Bfloat16* tokens = shared + stage % kStages * 2 * kElements;
    const Bfloat16* filters = tokens + kElements;
    const int64_t left = params.dim - part * kTile;
    const int steps = static_cast<int>(left < kTile ? (left + 15) / 16 : kTile / 16);
    for (int step = 0; step < steps; ++step) {
      uint32_t a[2][4], b[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        load_a<kTile>(a[m], tokens, own_position + 16 * m, 2 * step, lane);
        load_b<kTile>(b[m], filters, own_channel + 16 * m, 2 * step, lane);
      }
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          mma_bf16(sum[m][n], a[m], b[n / 2][2 * (n % 2)], b[n / 2][2 * (n % 2) + 1]);
        }
      }
    }
    if (++part < parts) continue;
    part = 0;
    if (++tap < params.taps) continue;
    tap = 0;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t p = position + own_position + 16 * m + 8 * half + lane / 4;
#pragma unroll
        for (int n = 0; n < 4; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& x = sum[m][n][2 * half + e];
            greatest[2 * n + e].add(x, p < positions ? static_cast<int32_t>(p) : -1);
            x = 0;
          }
        }
      }
    }
    position += kTile;
  }
  wait_for_copies<0>();

  // Over the lanes that have a channel, and the two warps.
  const bool strange = __syncthreads_or(rows.strange) != 0;  // and the tiles are free
  auto* others = reinterpret_cast<Greatest<float>*>(shared);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      Greatest<float>& own = greatest[2 * n + e];
#pragma unroll
      for (int step = 4; step < kWarp; step *= 2) {
        const float value = __shfl_xor_sync(kAllLanes, own.value, step);
        own.add(value, __shfl_xor_sync(kAllLanes, own.place, step));
      }
      if (warp >= 2 && lane < 4) others[own_channel + 8 * n + 2 * lane + e] = own;
    }
  }
  __syncthreads();
  if (warp >= 2 || lane >= 4) return;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int column = own_channel + 8 * n + 2 * lane + e;
      greatest[2 * n + e].add(others[column].value, others[column].place);
      if (first_channel + column < params.channels) {
        store_maximum(params, first_channel + column, greatest[2 * n + e], strange);
      }
    }
  }
}

// ---- float and double ---------------------------------------------------------------------------

constexpr int kSide = 16, kFmaThreads = kSide * kSide;
constexpr int kEach = kTile / kSide;  // positions, and channels, of a thread
constexpr int kDepth = 16;            // dimensions of a stage
constexpr int kRow = kTile + 4;       // of shared memory: rows are written down a column

// The same with a thread for 4 x 4 of a tile. A stage is one tap and 16 dimensions; the next one is
// read into registers while one is multiplied.
template <typename scalar_t>
__global__ void __launch_bounds__(kFmaThreads)
    conv_max_pool_fma_kernel(ConvMaxPoolParams<scalar_t, scalar_t> params) {
  __shared__ __align__(16) scalar_t tokens[2][kDepth][kRow], filters[2][kDepth][kRow];
  TextRows<scalar_t, scalar_t> rows{params, params.texts[blockIdx.x]};
  const int64_t first_channel = int64_t{blockIdx.y} * kTile;
  const int64_t positions = params.texts.positions(rows.text.length, params.taps);
  const int64_t parts = params.dim > kDepth ? (params.dim + kDepth - 1) / kDepth : 1;
  const int64_t stages = params.taps * parts;
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;

  Greatest<scalar_t> greatest[kEach];
  scalar_t token[kEach], filter[kEach];
  for (int64_t position = 0; position < positions; position += kTile) {
    int64_t fetch_part = 0, fetch_tap = 0;
    const auto fetch = [&] {
      const int64_t column = fetch_part * kDepth + x;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int row = y + i * kSide;
        const scalar_t* from = rows(position + row + fetch_tap);
        const int64_t channel = first_channel + row;
        token[i] = from != nullptr && column < params.dim ? from[column] : scalar_t(0);
        filter[i] =
            channel < params.channels && column < params.dim
                ? params.weight[(fetch_tap * params.channels + channel) * params.dim + column]
                : scalar_t(0);
      }
      if (++fetch_part == parts) {
        fetch_part = 0;
        ++fetch_tap;
      }
    };
    fetch();
    scalar_t sum[kEach][kEach] = {};
    for (int64_t stage = 0; stage < stages; ++stage) {
      const int buffer = static_cast<int>(stage % 2);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        tokens[buffer][x][y + i * kSide] = token[i];
        filters[buffer][x][y + i * kSide] = filter[i];
      }
      __syncthreads();  // one a stage: who is late still reads the other buffer
      if (stage + 1 < stages) fetch();
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        scalar_t a[kEach], b[kEach];
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
          a[i] = tokens[buffer][d][kEach * y + i];
          b[i] = filters[buffer][d][kEach * x + i];
        }
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
#pragma unroll
          for (int j = 0; j < kEach; ++j) sum[i][j] += a[i] * b[j];
        }
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t p = position + kEach * y + i;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        greatest[j].add(sum[i][j], p < positions ? static_cast<int32_t>(p) : -1);
      }
    }
  }

  const bool strange = __syncthreads_or(rows.strange) != 0;  // and the tiles are free
  auto* all = reinterpret_cast<Greatest<scalar_t>*>(tokens);
  static_assert(sizeof tokens >= sizeof(Greatest<scalar_t>) * kSide * kTile);
#pragma unroll
  for (int j = 0; j < kEach; ++j) all[y * kTile + kEach * x + j] = greatest[j];
  __syncthreads();
  const int column = static_cast<int>(threadIdx.x);
  if (column >= kTile || first_channel + column >= params.channels) return;
  Greatest<scalar_t> best = all[column];
  for (int i = 1; i < kSide; ++i) {
    best.add(all[i * kTile + column].value, all[i * kTile + column].place);
  }
  store_maximum(params, first_channel + column, best, strange);
}

// ---- backward -----------------------------------------------------------------------------------

constexpr int kPickThreads = 256;

template <typename stat_t>
__global__ void __launch_bounds__(kPickThreads)
    conv_max_pool_picks_kernel(ConvPicksParams<stat_t> params) {
  const int64_t i = int64_t{blockIdx.x} * kPickThreads + threadIdx.x;
  if (i < params.taps * params.channels * params.texts.count) conv_pick(params, i);
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

template <typename scalar_t, typename stat_t>
void launch_conv_max_pool(const ConvMaxPoolParams<scalar_t, stat_t>& params, void* stream) {
  if (params.texts.count == 0 || params.channels == 0) return;
  const dim3 grid(static_cast<uint32_t>(params.texts.count), blocks_for(params.channels, kTile));
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if constexpr (std::is_same_v<scalar_t, Bfloat16>) {
    const auto at_16 = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
    const bool aligned = params.dim % 8 == 0 && at_16(params.x) && at_16(params.weight);
    launch(conv_max_pool_mma_kernel, grid, dim3(kMmaThreads), kMmaBytes, cuda_stream, params,
           aligned);
  } else {
    launch(conv_max_pool_fma_kernel<scalar_t>, grid, dim3(kFmaThreads), 0, cuda_stream, params);
  }
}

template <typename stat_t>
void launch_conv_max_pool_picks(const ConvPicksParams<stat_t>& params, void* stream) {
  const int64_t picks = params.taps * params.channels * params.texts.count;
  if (picks == 0) return;
  launch(conv_max_pool_picks_kernel<stat_t>, dim3(blocks_for(picks, kPickThreads)),
         dim3(kPickThreads), 0, static_cast<cudaStream_t>(stream), params);
}

template void launch_conv_max_pool(const ConvMaxPoolParams<float, float>&, void*);
template void launch_conv_max_pool(const ConvMaxPoolParams<double, double>&, void*);
template void launch_conv_max_pool(const ConvMaxPoolParams<Bfloat16, float>&, void*);
template void launch_conv_max_pool_picks(const ConvPicksParams<float>&, void*);
template void launch_conv_max_pool_picks(const ConvPicksParams<double>&, void*);

}  // namespace lexforge
