// GloVe training on CUDA (contract: glove_train.h and glove_train_cuda.h).
//
// A warp walks its entries in order. Where a record fits, the focal row lies in registers for its
// segment, 16 bytes a lane and pack; the context row of the next entry is read while this one
// computes, and so is the focal row where a segment ends. Records further on are called into the
// second-level cache a batch of 32 entries ahead. An entry then costs one dependent chain: product,
// five shuffles, root, update; some 220 cycles (added up from latencies, not measured), against 270
// for a read that hits the second-level cache.
//
// A launch per round rather than one kernel that waits between rounds: a launch costs some 2 us of
// the 20 that a round of 1024 tiles takes, and what waits for other blocks cannot be emulated.
#include <algorithm>
#include <cmath>

#include "common/cuda_launch.cuh"
#include "common/warp.cuh"
#include "glove/glove_train_cuda.h"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kMostWarps = 8;  // of a block
constexpr int kSumThreads = 256;

template <GloveOptimizer kOptimizer>
constexpr int kRecordParts = static_cast<int>(glove_record_parts(kOptimizer));

__device__ __forceinline__ float inverse_root(float x) { return rsqrtf(x); }
__device__ __forceinline__ double inverse_root(double x) { return 1 / sqrt(x); }
// The root of x, or of nearly 0 where x is not positive: rounding can make it so.
__device__ __forceinline__ float fast_root(float x) {
  const float positive = fmaxf(x, 1e-37f);
  return positive * rsqrtf(positive);
}
__device__ __forceinline__ double fast_root(double x) { return sqrt(fmax(x, 0.0)); }
__device__ __forceinline__ float fast_quotient(float x, float y) { return __fdividef(x, y); }
__device__ __forceinline__ double fast_quotient(double x, double y) { return x / y; }

// Calls memory into the second-level cache.
__device__ __forceinline__ void prefetch([[maybe_unused]] const void* begin,
                                         [[maybe_unused]] int64_t bytes) {
#ifdef __CUDA_ARCH__
  constexpr uintptr_t kLine = 128;
  const uintptr_t first = reinterpret_cast<uintptr_t>(begin), last = first + bytes;
  for (uintptr_t at = first / kLine * kLine; at < last; at += kLine) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
  }
#endif
}

// What the update of an element needs besides the row.
template <typename scalar_t>
struct Rates {
  scalar_t scale, limit;  // of gradients: the learning rate, where it belongs into them, and clip
  scalar_t bias;          // what a bias's gradient is multiplied by
  scalar_t share;         // rowwise: 1 / (D + 1)
  scalar_t beta1, beta2, fresh1, fresh2, log_beta1, log_beta2, learning_rate, epsilon;  // adam
  scalar_t alpha, log_x_max;
};

template <typename scalar_t>
Rates<scalar_t> rates_of(const GloveTrainParams<scalar_t>& params) {
  const double scale =
      params.optimizer == GloveOptimizer::kAdam ? 1.0 : static_cast<double>(params.learning_rate);
  const auto number = [](double x) { return static_cast<scalar_t>(x); };
  return {
      .scale = number(scale),
      .limit = number(scale == 0 ? 0 : scale * params.clip),
      .bias = number(params.bias_rate),
      .share = number(1.0 / static_cast<double>(params.dim + 1)),
      .beta1 = number(params.beta1),
      .beta2 = number(params.beta2),
      .fresh1 = number(1 - params.beta1),
      .fresh2 = number(1 - params.beta2),
      .log_beta1 = number(std::log(params.beta1)),
      .log_beta2 = number(std::log(params.beta2)),
      .learning_rate = number(params.learning_rate),
      .epsilon = number(params.epsilon),
      .alpha = number(params.alpha),
      .log_x_max = number(std::log(params.x_max)),
  };
}

template <typename scalar_t>
__device__ __forceinline__ scalar_t clipped(scalar_t g, bool bias, const Rates<scalar_t>& rates) {
  return max(min(g, rates.limit), -rates.limit) * (bias ? rates.bias : scalar_t(1));
}

// An optimiser at one row and entry. `extra` is the number at [D + 1]: rowwise the accumulator,
// adam the entries seen.
template <GloveOptimizer kOptimizer, typename scalar_t>
struct RowStep {
  const Rates<scalar_t>& rates;
  scalar_t rate = 0, epsilon = 0, squares = 0;

  __device__ __forceinline__ RowStep(const Rates<scalar_t>& rates, scalar_t extra) : rates(rates) {
    if constexpr (kOptimizer == GloveOptimizer::kRowwiseAdaGrad) rate = inverse_root(extra);
    if constexpr (kOptimizer == GloveOptimizer::kAdam) {
      // 1 - beta^t without cancellation; both corrections go into the rate.
      const scalar_t t = extra + 1;
      const scalar_t left1 = -expm1(t * rates.log_beta1), left2 = -expm1(t * rates.log_beta2);
      const scalar_t root = fast_root(left2);
      rate = fast_quotient(rates.learning_rate * root, left1);
      epsilon = rates.epsilon * root;
    }
  }

  // The element's parts with the gradient g; `pad` after the bias, where g is 0.
  __device__ __forceinline__ void update(scalar_t (&x)[kRecordParts<kOptimizer>], scalar_t g,
                                         bool pad) {
    if constexpr (kOptimizer == GloveOptimizer::kAdaGrad) {
      x[0] -= g * inverse_root(pad ? scalar_t(1) : x[1]);
      x[1] += g * g;
    } else if constexpr (kOptimizer == GloveOptimizer::kRowwiseAdaGrad) {
      x[0] -= g * rate;
      squares += g * g;
    } else {
      x[1] = rates.beta1 * x[1] + rates.fresh1 * g;
      x[2] = rates.beta2 * x[2] + rates.fresh2 * g * g;
      x[0] -= rate * fast_quotient(x[1], fast_root(x[2]) + epsilon);
    }
  }

  // The new extra, in every lane; all lanes call this.
  __device__ __forceinline__ scalar_t finish(scalar_t extra) const {
    if constexpr (kOptimizer == GloveOptimizer::kRowwiseAdaGrad) {
      return extra + warp_sum(squares) * rates.share;
    } else {
      return extra + 1;
    }
  }
};

// ---- entries ------------------------------------------------------------------------------------

// 32 entries, one per lane.
template <typename scalar_t>
struct Batch {
  int32_t row = -1, col = -1;
  scalar_t log_count = 0, weight = 0;
};

// Reads the entries of a warp's share of a tile by batches.
template <typename scalar_t>
struct Reader {
  const GloveTrainParams<scalar_t>& params;
  const Rates<scalar_t>& rates;
  int64_t record;  // elements of one
  int lane;
  int64_t entry = 0, end = 0;             // of what is still to be taken
  int64_t segment = 0, last_segment = 0;  // the same; `entry` lies in `segment`
  bool valid = true;

  // Fetched, and not yet looked at.
  int64_t segment_end = 0;
  int32_t segment_row = 0, column = 0;
  float log_count = 0;

  __device__ Reader(const GloveTrainParams<scalar_t>& params, const Rates<scalar_t>& rates,
                    int parts, int lane)
      : params(params), rates(rates), record(parts * params.stride), lane(lane) {}

  // Share `number` of `count` of a tile: as many entries as the others, in whole segments.
  __device__ void open(int64_t tile, int number, int count) {
    const GloveTiles& tiles = params.tiles;
    int64_t first = tiles.tile_begin[tile], last = tiles.tile_begin[tile + 1];
    valid = 0 <= first && first <= last && last <= tiles.segments;
    if (!valid || first == last) return;
    const int64_t begin = tiles.segment_begin[first], size = tiles.segment_begin[last] - begin;
    valid = 0 <= begin && 0 <= size && size <= tiles.entries - begin;
    if (!valid) return;
    segment = number == 0 ? first : first_segment_at(first, last, begin + size * number / count);
    last_segment = number + 1 == count
                       ? last
                       : first_segment_at(first, last, begin + size * (number + 1) / count);
    entry = tiles.segment_begin[segment];
    end = tiles.segment_begin[last_segment];
    // Where begins do not rise, the search ends anywhere in the tile; the next share begins there,
    // so that every segment is some warp's to check.
    valid = segment <= last_segment && begin <= entry && entry <= end && end <= begin + size;
  }

  __device__ int64_t first_segment_at(int64_t low, int64_t high, int64_t wanted) const {
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (params.tiles.segment_begin[middle] < wanted) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  __device__ bool more() const { return valid && entry < end; }

  // Starts to read the next batch.
  __device__ __forceinline__ void fetch() {
    const GloveTiles& tiles = params.tiles;
    const int64_t s = segment + lane, e = entry + lane;
    segment_end = INT64_MAX;
    if (s < last_segment) {
      segment_end = tiles.segment_begin[s + 1];
      segment_row = tiles.segment_row[s];
    }
    if (e < end) {
      column = tiles.column[e];
      log_count = tiles.log_count[e];
    }
  }

  // The batch that was fetched, checked, its records called into the cache.
  __device__ __forceinline__ Batch<scalar_t> take() {
    const int64_t before = __shfl_up_sync(kAllLanes, segment_end, 1);
    bool bad = segment_end <= (lane == 0 ? entry : before) && segment + lane < last_segment;
    const int64_t ahead = segment_end - entry - 1;  // entries before the segment's last one
    const unsigned ends =
        __reduce_or_sync(kAllLanes, 0 <= ahead && ahead < kWarp ? 1u << ahead : 0u);
    Batch<scalar_t> batch;
    const int32_t row = __shfl_sync(kAllLanes, segment_row, __popc(ends & ((1u << lane) - 1)));
    if (entry + lane < end) {
      batch.row = row;
      batch.col = column;
      batch.log_count = log_count;
      const scalar_t exponent = rates.alpha * (batch.log_count - rates.log_x_max);
      batch.weight = exponent < 0 ? exp(exponent) : scalar_t(1);
      const auto size = static_cast<uint64_t>(params.vocab_size);
      bad |= static_cast<uint32_t>(row) >= size || static_cast<uint32_t>(column) >= size;
    }
    valid = !__any_sync(kAllLanes, bad);
    if (valid && batch.row >= 0) {
      const int64_t bytes = record * static_cast<int64_t>(sizeof(scalar_t));
      prefetch(params.context_table + batch.col * record, bytes);
      const bool begins = lane == 0 || ((ends >> (lane - 1)) & 1) != 0;
      if (begins) prefetch(params.word_table + batch.row * record, bytes);
    }
    entry = min(entry + kWarp, end);
    segment += __popc(ends);
    return batch;
  }
};

// What a warp adds to stats.
struct Sums {
  double cost = 0, entries = 0;
};

// Adds up the warps of a block in order.
__device__ __forceinline__ void write_sums(const Sums& sums, bool valid, double* out) {
  __shared__ double all[kMostWarps][2];
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = threadIdx.x % kWarp;
  if (lane == 0) {
    all[warp][0] = valid ? sums.cost : nan("");
    all[warp][1] = sums.entries;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double cost = 0, entries = 0;
    for (int w = 0; w < static_cast<int>(blockDim.x / kWarp); ++w) {
      cost += all[w][0];
      entries += all[w][1];
    }
    out[0] = cost;
    out[1] = entries;
  }
}

// ---- records in registers -----------------------------------------------------------------------

// A record across a warp: lane l holds elements 4 l .. 4 l + 3 of every 128 of each part.
template <int kParts, int kPacks>
struct Record {
  float x[kParts][kPacks][4];
};

// Both tables' layout as one lane sees it.
template <int kParts, int kPacks>
struct Layout {
  int lane, dim, quads;  // quads: of four floats in a part

  __device__ __forceinline__ int element(int pack, int k) const {
    return 4 * (lane + pack * kWarp) + k;
  }
  __device__ __forceinline__ float4* quad(float* table, int32_t row, int part, int pack) const {
    return reinterpret_cast<float4*>(table) + (int64_t{row} * kParts + part) * quads +
           (lane + pack * kWarp);
  }

  // kLive: other warps change the record by atomics, which a multiprocessor's own cache misses.
  template <bool kLive = false>
  __device__ __forceinline__ void load(Record<kParts, kPacks>& record, float* table,
                                       int32_t row) const {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        const bool used = lane + p * kWarp < quads;
        float4 q = make_float4(0, 0, 0, 0);
        if constexpr (kLive) {
          q = load_live4(quad(table, row, part, p), used);
        } else {
          if (used) q = *quad(table, row, part, p);
        }
        record.x[part][p][0] = q.x;
        record.x[part][p][1] = q.y;
        record.x[part][p][2] = q.z;
        record.x[part][p][3] = q.w;
      }
    }
  }

  __device__ __forceinline__ void store(const Record<kParts, kPacks>& record, float* table,
                                        int32_t row) const {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        const float(&x)[4] = record.x[part][p];
        if (lane + p * kWarp < quads) {
          *quad(table, row, part, p) = make_float4(x[0], x[1], x[2], x[3]);
        }
      }
    }
  }

  // Adds what a record has changed by since it was `old`.
  __device__ __forceinline__ void add_change(const Record<kParts, kPacks>& old,
                                             const Record<kParts, kPacks>& record, float* table,
                                             int32_t row) const {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        const float(&x)[4] = record.x[part][p];
        const float(&y)[4] = old.x[part][p];
        if (lane + p * kWarp < quads) {
          atomic_add4(quad(table, row, part, p),
                      make_float4(x[0] - y[0], x[1] - y[1], x[2] - y[2], x[3] - y[3]));
        }
      }
    }
  }

  // What the other side's element is multiplied by: the vector's elements, 1 at the bias.
  __device__ __forceinline__ float factor(float x, int e) const {
    return e < dim ? x : e == dim ? 1.0f : 0.0f;
  }

  // The number at [D + 1], in every lane.
  __device__ __forceinline__ float extra(const Record<kParts, kPacks>& record) const {
    float found = 0;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (element(p, k) == dim + 1) found = record.x[0][p][k];
      }
    }
    return __shfl_sync(kAllLanes, found, (dim + 1) / 4 % kWarp);
  }

  __device__ __forceinline__ void set_extra(Record<kParts, kPacks>& record, float value) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (element(p, k) == dim + 1) record.x[0][p][k] = value;
      }
    }
  }
};

// Trains one entry in registers; returns its cost.
template <GloveOptimizer kOptimizer, int kParts, int kPacks>
__device__ __forceinline__ double train_entry(const Layout<kParts, kPacks>& layout,
                                              const Rates<float>& rates,
                                              Record<kParts, kPacks>& focal,
                                              Record<kParts, kPacks>& column, float log_count,
                                              float weight) {
  constexpr bool kHasExtra = kOptimizer != GloveOptimizer::kAdaGrad;
  float part = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int e = layout.element(p, k);
      const float c = column.x[0][p][k];
      part = fmaf(focal.x[0][p][k], layout.factor(c, e), part);
      if (e == layout.dim) part += c;
    }
  }
  const float error = warp_sum(part) - log_count;
  const float weighted = weight * error, g = rates.scale * weighted;

  const float focal_extra = kHasExtra ? layout.extra(focal) : 0.0f;
  const float column_extra = kHasExtra ? layout.extra(column) : 0.0f;
  RowStep<kOptimizer, float> focal_step(rates, focal_extra), column_step(rates, column_extra);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int e = layout.element(p, k);
      float w[kParts], c[kParts];
#pragma unroll
      for (int i = 0; i < kParts; ++i) {
        w[i] = focal.x[i][p][k];
        c[i] = column.x[i][p][k];
      }
      const float of_focal = clipped(g * layout.factor(c[0], e), e == layout.dim, rates);
      const float of_column = clipped(g * layout.factor(w[0], e), e == layout.dim, rates);
      focal_step.update(w, of_focal, e > layout.dim);
      column_step.update(c, of_column, e > layout.dim);
#pragma unroll
      for (int i = 0; i < kParts; ++i) {
        focal.x[i][p][k] = w[i];
        column.x[i][p][k] = c[i];
      }
    }
  }
  if constexpr (kHasExtra) {
    layout.set_extra(focal, focal_step.finish(focal_extra));
    layout.set_extra(column, column_step.finish(column_extra));
  }
  return 0.5 * static_cast<double>(weighted) * static_cast<double>(error);
}

// kShared: the tile's other warps train the same context rows.
template <GloveOptimizer kOptimizer, int kPacks, bool kShared>
__global__ void __launch_bounds__(kWarp* kMostWarps)
    glove_train_kernel(const __grid_constant__ GloveTrainParams<float> params,
                       const __grid_constant__ Rates<float> rates, int64_t round, double* sums) {
  constexpr int kParts = kRecordParts<kOptimizer>;
  // The next batch is fetched when this one begins and taken when its metadata has come.
  constexpr int kTakeAt = 8;
  // Larger records leave no registers for it.
  constexpr bool kFocalAhead = kParts * kPacks <= 8;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const Layout<kParts, kPacks> layout{lane, static_cast<int>(params.dim),
                                      static_cast<int>(params.stride / 4)};
  Reader<float> reader(params, rates, kParts, lane);
  reader.open(blockIdx.x * params.tiles.parts + round, static_cast<int>(threadIdx.x / kWarp),
              static_cast<int>(blockDim.x / kWarp));
  Sums total;
  if (reader.more()) {
    int64_t left = reader.end - reader.entry;
    reader.fetch();
    Batch<float> batch = reader.take();
    if (reader.valid) {
      Record<kParts, kPacks> focal, column, next_focal{}, next_column{};
      int32_t row = __shfl_sync(kAllLanes, batch.row, 0);
      int32_t col = __shfl_sync(kAllLanes, batch.col, 0);
      layout.load(focal, params.word_table, row);
      layout.template load<kShared>(column, params.context_table, col);
      while (row >= 0) {
        const bool more = reader.more();
        Batch<float> following;
        if (more) reader.fetch();
        const int count = static_cast<int>(min(left, int64_t{kWarp}));
        left -= count;
#pragma unroll 1
        for (int i = 0; i < count; ++i) {
          if (more && i == kTakeAt) {
            following = reader.take();
            if (!reader.valid) following = Batch<float>();
          }
          // The next entry, -1 after the last one.
          int32_t next_row = -1, next_col = -1;
          if (i + 1 < count || more) {
            const bool same_batch = i + 1 < kWarp;
            next_row = __shfl_sync(kAllLanes, same_batch ? batch.row : following.row, i + 1);
            next_col = __shfl_sync(kAllLanes, same_batch ? batch.col : following.col, i + 1);
          }
          if (next_row >= 0) {
            layout.template load<kShared>(next_column, params.context_table, next_col);
            if (kFocalAhead && next_row != row) {
              layout.load(next_focal, params.word_table, next_row);
            }
          }
          [[maybe_unused]] const Record<kParts, kPacks> old = column;
          total.cost += train_entry<kOptimizer>(layout, rates, focal, column,
                                                __shfl_sync(kAllLanes, batch.log_count, i),
                                                __shfl_sync(kAllLanes, batch.weight, i));
          total.entries += 1;
          if constexpr (kShared) {
            layout.add_change(old, column, params.context_table, col);
          } else {
            layout.store(column, params.context_table, col);
          }
          // What was read ahead of this change of the same row is out of date.
          if (next_col != col) column = next_column;
          if (next_row != row) {
            layout.store(focal, params.word_table, row);
            if (kFocalAhead) {
              focal = next_focal;
            } else if (next_row >= 0) {
              layout.load(focal, params.word_table, next_row);
            }
          }
          row = next_row;
          col = next_col;
        }
        batch = following;
      }
    }
  }
  write_sums(total, reader.valid, sums + 2 * blockIdx.x);
}

// ---- records of any size ------------------------------------------------------------------------

template <typename scalar_t>
__device__ __forceinline__ void change(scalar_t* at, scalar_t old, scalar_t now, bool shared) {
  if (shared) {
    atomicAdd(at, now - old);
  } else {
    *at = now;
  }
}

// Rows stay in memory; lane l works on elements l, l + 32, ... of both. For double, which tests
// use, and for vectors too long for registers.
template <GloveOptimizer kOptimizer, typename scalar_t>
__global__ void __launch_bounds__(kWarp* kMostWarps, 1)
    glove_train_any_kernel(const __grid_constant__ GloveTrainParams<scalar_t> params,
                           const __grid_constant__ Rates<scalar_t> rates, int64_t round,
                           double* sums) {
  const bool shared = blockDim.x > kWarp;  // context rows, with the tile's other warps
  constexpr int kParts = kRecordParts<kOptimizer>;
  constexpr bool kHasExtra = kOptimizer != GloveOptimizer::kAdaGrad;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t dim = params.dim, stride = params.stride;
  Reader<scalar_t> reader(params, rates, kParts, lane);
  reader.open(blockIdx.x * params.tiles.parts + round, static_cast<int>(threadIdx.x / kWarp),
              static_cast<int>(blockDim.x / kWarp));
  Sums total;
  while (reader.more()) {
    const int count = static_cast<int>(min(reader.end - reader.entry, int64_t{kWarp}));
    reader.fetch();
    const Batch<scalar_t> batch = reader.take();
    for (int i = 0; reader.valid && i < count; ++i) {
      const int64_t row = __shfl_sync(kAllLanes, batch.row, i);
      const int64_t col = __shfl_sync(kAllLanes, batch.col, i);
      scalar_t* focal = params.word_table + row * kParts * stride;
      scalar_t* column = params.context_table + col * kParts * stride;
      scalar_t part = 0;
      for (int64_t d = lane; d <= dim; d += kWarp) {
        const scalar_t c = __ldcg(column + d);
        part += d < dim ? focal[d] * c : focal[d] + c;
      }
      const scalar_t error = warp_sum(part) - __shfl_sync(kAllLanes, batch.log_count, i);
      const scalar_t weighted = __shfl_sync(kAllLanes, batch.weight, i) * error;
      const scalar_t g = rates.scale * weighted;

      const scalar_t focal_extra = kHasExtra ? focal[dim + 1] : scalar_t(0);
      const scalar_t column_extra = kHasExtra ? __ldcg(column + dim + 1) : scalar_t(0);
      RowStep<kOptimizer, scalar_t> focal_step(rates, focal_extra);
      RowStep<kOptimizer, scalar_t> column_step(rates, column_extra);
      for (int64_t d = lane; d <= dim; d += kWarp) {
        scalar_t w[kParts], c[kParts], old[kParts];
#pragma unroll
        for (int k = 0; k < kParts; ++k) {
          w[k] = focal[k * stride + d];
          c[k] = old[k] = __ldcg(column + k * stride + d);
        }
        const scalar_t of_focal = clipped(d < dim ? g * c[0] : g, d == dim, rates);
        const scalar_t of_column = clipped(d < dim ? g * w[0] : g, d == dim, rates);
        focal_step.update(w, of_focal, false);
        column_step.update(c, of_column, false);
#pragma unroll
        for (int k = 0; k < kParts; ++k) {
          focal[k * stride + d] = w[k];
          change(column + k * stride + d, old[k], c[k], shared);
        }
      }
      if constexpr (kHasExtra) {
        const scalar_t new_focal = focal_step.finish(focal_extra);
        const scalar_t new_column = column_step.finish(column_extra);
        __syncwarp();  // every lane has read the old ones
        if (lane == 0) {
          focal[dim + 1] = new_focal;
          change(column + dim + 1, column_extra, new_column, shared);
        }
        __syncwarp();
      }
      total.cost += 0.5 * static_cast<double>(weighted) * static_cast<double>(error);
      total.entries += 1;
    }
  }
  write_sums(total, reader.valid, sums + 2 * blockIdx.x);
}

// ---- sums ---------------------------------------------------------------------------------------

// One block per round: adds its tiles' sums [parts, 2] by a tree.
__global__ void __launch_bounds__(kSumThreads)
    glove_sum_kernel(const double* tile_sums, int64_t parts, double* round_sums) {
  __shared__ double all[kSumThreads][2];
  const int t = static_cast<int>(threadIdx.x);
  double cost = 0, entries = 0;
  const double* own = tile_sums + 2 * parts * blockIdx.x;
  for (int64_t p = t; p < parts; p += kSumThreads) {
    cost += own[2 * p];
    entries += own[2 * p + 1];
  }
  all[t][0] = cost;
  all[t][1] = entries;
  for (int half = kSumThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) {
      all[t][0] += all[t + half][0];
      all[t][1] += all[t + half][1];
    }
  }
  if (t == 0) {
    round_sums[2 * blockIdx.x] = all[0][0];
    round_sums[2 * blockIdx.x + 1] = all[0][1];
  }
}

__global__ void glove_add_kernel(const double* round_sums, int64_t rounds, double* stats) {
  double sum = stats[threadIdx.x];
  for (int64_t r = 0; r < rounds; ++r) sum += round_sums[2 * r + threadIdx.x];
  stats[threadIdx.x] = sum;
}

// ---- launchers ----------------------------------------------------------------------------------

template <typename scalar_t>
using TrainKernel = void (*)(GloveTrainParams<scalar_t>, Rates<scalar_t>, int64_t, double*);

// Records that fit into registers with the two that are read ahead (cuda_check.py: no spills).
template <GloveOptimizer kOptimizer, bool kShared>
TrainKernel<float> kernel_of(const GloveTrainParams<float>& params) {
  if (params.stride <= 128) return glove_train_kernel<kOptimizer, 1, kShared>;
  if (params.stride <= 256) return glove_train_kernel<kOptimizer, 2, kShared>;
  if (params.stride <= 384) return glove_train_kernel<kOptimizer, 3, kShared>;
  return glove_train_any_kernel<kOptimizer, float>;
}

template <GloveOptimizer kOptimizer, bool kShared>
TrainKernel<double> kernel_of(const GloveTrainParams<double>&) {
  return glove_train_any_kernel<kOptimizer, double>;
}

template <GloveOptimizer kOptimizer, typename scalar_t>
TrainKernel<scalar_t> choose_kernel(const GloveTrainParams<scalar_t>& params, bool shared) {
  return shared ? kernel_of<kOptimizer, true>(params) : kernel_of<kOptimizer, false>(params);
}

template <typename scalar_t>
TrainKernel<scalar_t> choose_kernel(const GloveTrainParams<scalar_t>& params, bool shared) {
  switch (params.optimizer) {
    case GloveOptimizer::kAdaGrad:
      return choose_kernel<GloveOptimizer::kAdaGrad>(params, shared);
    case GloveOptimizer::kRowwiseAdaGrad:
      return choose_kernel<GloveOptimizer::kRowwiseAdaGrad>(params, shared);
    default:
      return choose_kernel<GloveOptimizer::kAdam>(params, shared);
  }
}

}  // namespace

template <typename scalar_t>
void launch_glove_train(const GloveTrainParams<scalar_t>& params, int64_t first_round,
                        int64_t last_round, bool deterministic, double* scratch, double* stats,
                        void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const int64_t parts = params.tiles.parts;
  // A share of 32 entries at least: a batch.
  const int64_t share = params.tiles.entries / parts / parts / kWarp;
  const int64_t warps = deterministic ? 1 : std::clamp<int64_t>(share, 1, kMostWarps);
  const TrainKernel<scalar_t> kernel = choose_kernel(params, warps > 1);
  const Rates<scalar_t> rates = rates_of(params);
  double* round_sums = scratch + 2 * kGloveRoundsPerSum * parts;
  for (int64_t first = first_round; first < last_round; first += kGloveRoundsPerSum) {
    const int64_t rounds = std::min(last_round - first, kGloveRoundsPerSum);
    for (int64_t r = 0; r < rounds; ++r) {
      launch(kernel, dim3(static_cast<uint32_t>(parts)), dim3(static_cast<uint32_t>(kWarp * warps)),
             0, cuda_stream, params, rates, first + r, scratch + 2 * parts * r);
    }
    launch(glove_sum_kernel, dim3(static_cast<uint32_t>(rounds)), dim3(kSumThreads), 0, cuda_stream,
           scratch, parts, round_sums);
    launch(glove_add_kernel, dim3(1), dim3(2), 0, cuda_stream, round_sums, rounds, stats);
  }
}

template void launch_glove_train(const GloveTrainParams<float>&, int64_t, int64_t, bool, double*,
                                 double*, void*);
template void launch_glove_train(const GloveTrainParams<double>&, int64_t, int64_t, bool, double*,
                                 double*, void*);

}  // namespace lexforge
