#include <cstdint>

#include "transformer/embedding_sum.h"
#include "transformer/row_octets.cuh"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kThreads = 128;

// The three summands of z[t]; z is NaN where an id has no row.
template <typename stat_t>
struct Summands {
  const stat_t *token, *segment, *position;
  bool known;

  __device__ __forceinline__ Summands(const EmbeddingRows<stat_t>& rows, int64_t t) : known(true) {
    token = place(rows.token_table, rows.tokens[t], rows.token_rows, rows.width);
    position = place(rows.position_table, rows.positions[t], rows.position_rows, rows.width);
    segment = rows.segments == nullptr
                  ? nullptr
                  : place(rows.segment_table, rows.segments[t], rows.segment_rows, rows.width);
  }

  __device__ __forceinline__ stat_t sum(int64_t column) const {
    if (!known) return static_cast<stat_t>(nan(""));
    const stat_t z = segment == nullptr ? token[column] : token[column] + segment[column];
    return z + position[column];
  }

  __device__ __forceinline__ void sums(int64_t column, float (&z)[kOctet]) const {
    if (!known) {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) z[i] = nanf("");
      return;
    }
    float other[kOctet];
    load_octet(token + column, z);
    if (segment != nullptr) {
      load_octet(segment + column, other);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) z[i] += other[i];
    }
    load_octet(position + column, other);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) z[i] += other[i];
  }

 private:
  __device__ __forceinline__ const stat_t* place(const stat_t* table, int32_t id, int64_t rows,
                                                 int64_t width) {
    known = known && static_cast<uint32_t>(id) < rows;
    return table + id * width;  // read only if known
  }
};

// Eight neighbours through the dropout.
__device__ __forceinline__ void drop_octet(const Dropout& dropout, int64_t index,
                                           float (&x)[kOctet]) {
  if (dropout.threshold == 0) return;
  const uint32_t kept = keep_octet(dropout, index, RandomStream::kEmbedding);
#pragma unroll
  for (int i = 0; i < kOctet; ++i) x[i] = kept >> i & 1 ? x[i] * dropout.scale : 0.0f;
}

template <typename stat_t>
__device__ __forceinline__ stat_t drop(const Dropout& dropout, int64_t index, stat_t x) {
  if (dropout.threshold == 0) return x;
  const bool kept = dropout_keeps(static_cast<uint64_t>(*dropout.seed), dropout.threshold,
                                  static_cast<uint64_t>(index), RandomStream::kEmbedding);
  return kept ? x * dropout.scale : stat_t(0);
}

// ---- rows ---------------------------------------------------------------------------------------

// A row in the registers of kLanes threads: thread l has its octets l, l + kLanes, ... Bound by the
// reads of the token's row and the write of the sum.
template <typename out_t, int kLanes, int kOctets>
__global__ void __launch_bounds__(kThreads)
    embedding_sum_kernel(EmbeddingSumParams<out_t, float> params) {
  __shared__ float shared[2][kLanes > kWarp ? kLanes / kWarp : 1][1];
  RowSums<kLanes, 1, float> row_sum{shared};
  const EmbeddingRows<float>& rows = params.rows;
  const int64_t t = int64_t{blockIdx.x} * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const bool wanted = t < rows.count;
  const auto inverse_width = 1.0f / static_cast<float>(rows.width);

  float z[kOctets][kOctet], sum[1] = {}, squares[1] = {}, rstd = 1.0f;
  const Summands<float> summands(rows, wanted ? t : 0);
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    const int64_t column = kOctet * (lane + o * kLanes);
    if (!wanted || column >= rows.width) continue;
    summands.sums(column, z[o]);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) sum[0] += z[o][i];
  }
  if (rows.weight != nullptr) {
    row_sum(sum);
    const float mean = sum[0] * inverse_width;
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      if (!wanted || kOctet * (lane + o * kLanes) >= rows.width) continue;
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        z[o][i] -= mean;
        squares[0] += z[o][i] * z[o][i];
      }
    }
    row_sum(squares);
    rstd = 1.0f / sqrtf(squares[0] * inverse_width + static_cast<float>(params.eps));
    if (wanted && lane == 0) {
      params.mean[t] = mean;
      params.rstd[t] = rstd;
    }
  }
  if (!wanted) return;
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    const int64_t column = kOctet * (lane + o * kLanes), index = t * rows.width + column;
    if (column >= rows.width) continue;
    if (rows.weight != nullptr) {
      float weight[kOctet], bias[kOctet];
      load_octet(rows.weight + column, weight);
      load_octet(params.bias + column, bias);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) z[o][i] = z[o][i] * rstd * weight[i] + bias[i];
    }
    drop_octet(rows.dropout, index, z[o]);
    store_octet(params.out + index, z[o]);
  }
}

// A block per group of t, kThreads / kLanes of them at a time. A thread has the same columns of
// every row it sees and keeps their sums over rows in registers; at the end the block adds up those
// of its threads in order.
template <typename out_t, int kLanes, int kOctets>
__global__ void __launch_bounds__(kThreads)
    embedding_sum_backward_kernel(EmbeddingSumBackwardParams<out_t, float> params) {
  constexpr int kRows = kThreads / kLanes, kWidth = kOctet * kOctets * kLanes;
  __shared__ float shared[2][kLanes > kWarp ? kLanes / kWarp : 1][2];
  __shared__ float columns[kRows > 1 ? kRows * kWidth : 1];
  RowSums<kLanes, 2, float> row_sums{shared};
  const EmbeddingRows<float>& rows = params.rows;
  const int place = static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const auto inverse_width = 1.0f / static_cast<float>(rows.width);
  const int64_t begin = int64_t{blockIdx.x} * params.group;
  const int64_t end = min(begin + params.group, rows.count);

  float sums[2][kOctets][kOctet] = {};
  for (int64_t first = begin; first < end; first += kRows) {
    const int64_t t = first + place;
    const bool wanted = t < end;
    float d[kOctets][kOctet];
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      const int64_t column = kOctet * (lane + o * kLanes), index = t * rows.width + column;
      if (!wanted || column >= rows.width) continue;
      load_octet(params.grad_out + index, d[o]);
      drop_octet(rows.dropout, index, d[o]);
    }
    if (rows.weight != nullptr) {
      const float mean = wanted ? params.mean[t] : 0.0f, rstd = wanted ? params.rstd[t] : 0.0f;
      const Summands<float> summands(rows, wanted ? t : 0);
      float x[kOctets][kOctet], means[2] = {};
#pragma unroll
      for (int o = 0; o < kOctets; ++o) {
        const int64_t column = kOctet * (lane + o * kLanes);
        if (!wanted || column >= rows.width) continue;
        float weight[kOctet];
        summands.sums(column, x[o]);
        load_octet(rows.weight + column, weight);
#pragma unroll
        for (int i = 0; i < kOctet; ++i) {
          x[o][i] = (x[o][i] - mean) * rstd;
          sums[0][o][i] += d[o][i] * x[o][i];
          sums[1][o][i] += d[o][i];
          d[o][i] *= weight[i];
          means[0] += d[o][i];
          means[1] += d[o][i] * x[o][i];
        }
      }
      row_sums(means);
#pragma unroll
      for (int o = 0; o < kOctets; ++o) {
        if (!wanted || kOctet * (lane + o * kLanes) >= rows.width) continue;
#pragma unroll
        for (int i = 0; i < kOctet; ++i) {
          d[o][i] = rstd * (d[o][i] - (means[0] + x[o][i] * means[1]) * inverse_width);
        }
      }
    }
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      const int64_t column = kOctet * (lane + o * kLanes);
      if (wanted && column < rows.width) {
        store_octet(params.grad_sum + t * rows.width + column, d[o]);
      }
    }
  }
  if (rows.weight == nullptr) return;

#pragma unroll
  for (int which = 0; which < 2; ++which) {
    float* partial = params.partial + (2 * int64_t{blockIdx.x} + which) * rows.width;
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      const int column = kOctet * (lane + o * kLanes);
      if (column >= rows.width) continue;
      store_octet(kRows > 1 ? columns + place * kWidth + column : partial + column, sums[which][o]);
    }
    if constexpr (kRows > 1) {
      __syncthreads();
      for (int column = static_cast<int>(threadIdx.x); column < rows.width; column += kThreads) {
        float sum = 0;
#pragma unroll
        for (int r = 0; r < kRows; ++r) sum += columns[r * kWidth + column];
        partial[column] = sum;
      }
      __syncthreads();
    }
  }
}

// Rows of any length and alignment, in any precision: a block per row, element by element, with z
// made again in every pass.
template <typename out_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    embedding_sum_general_kernel(EmbeddingSumParams<out_t, stat_t> params) {
  __shared__ stat_t shared[2][kThreads / kWarp][1];
  RowSums<kThreads, 1, stat_t> row_sum{shared};
  const EmbeddingRows<stat_t>& rows = params.rows;
  const auto width = static_cast<stat_t>(rows.width);
  for (int64_t t = blockIdx.x; t < rows.count; t += gridDim.x) {
    const Summands<stat_t> summands(rows, t);
    stat_t mean = 0, rstd = 1;
    if (rows.weight != nullptr) {
      stat_t sum[1] = {}, squares[1] = {};
      for (int64_t column = threadIdx.x; column < rows.width; column += kThreads) {
        sum[0] += summands.sum(column);
      }
      row_sum(sum);
      mean = sum[0] / width;
      for (int64_t column = threadIdx.x; column < rows.width; column += kThreads) {
        const stat_t centred = summands.sum(column) - mean;
        squares[0] += centred * centred;
      }
      row_sum(squares);
      rstd = stat_t(1) / sqrt(squares[0] / width + static_cast<stat_t>(params.eps));
      if (threadIdx.x == 0) {
        params.mean[t] = mean;
        params.rstd[t] = rstd;
      }
    }
    for (int64_t column = threadIdx.x; column < rows.width; column += kThreads) {
      const int64_t index = t * rows.width + column;
      stat_t y = summands.sum(column);
      if (rows.weight != nullptr) {
        y = (y - mean) * rstd * rows.weight[column] + params.bias[column];
      }
      store_number(params.out + index, drop(rows.dropout, index, y));
    }
  }
}

// A block per group of t, one after another; the sums over rows are kept in `partial`.
template <typename out_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    embedding_sum_general_backward_kernel(EmbeddingSumBackwardParams<out_t, stat_t> params) {
  __shared__ stat_t shared[2][kThreads / kWarp][2];
  RowSums<kThreads, 2, stat_t> row_sums{shared};
  const EmbeddingRows<stat_t>& rows = params.rows;
  const auto width = static_cast<stat_t>(rows.width);
  const int64_t begin = int64_t{blockIdx.x} * params.group;
  const int64_t end = min(begin + params.group, rows.count);
  const auto gradient = [&](int64_t index) {
    return drop(rows.dropout, index, static_cast<stat_t>(number(params.grad_out[index])));
  };
  if (rows.weight == nullptr) {
    for (int64_t index = begin * rows.width + threadIdx.x; index < end * rows.width;
         index += kThreads) {
      params.grad_sum[index] = gradient(index);
    }
    return;
  }
  stat_t* weight_sums = params.partial + 2 * int64_t{blockIdx.x} * rows.width;
  stat_t* bias_sums = weight_sums + rows.width;
  for (int64_t column = threadIdx.x; column < rows.width; column += kThreads) {
    weight_sums[column] = bias_sums[column] = 0;
  }
  for (int64_t t = begin; t < end; ++t) {
    const Summands<stat_t> summands(rows, t);
    const stat_t mean = params.mean[t], rstd = params.rstd[t];
    stat_t means[2] = {};
    for (int64_t column = threadIdx.x; column < rows.width; column += kThreads) {
      const stat_t x = (summands.sum(column) - mean) * rstd;
      const stat_t d = gradient(t * rows.width + column);
      weight_sums[column] += d * x;
      bias_sums[column] += d;
      means[0] += d * rows.weight[column];
      means[1] += d * rows.weight[column] * x;
    }
    row_sums(means);
    for (int64_t column = threadIdx.x; column < rows.width; column += kThreads) {
      const int64_t index = t * rows.width + column;
      const stat_t x = (summands.sum(column) - mean) * rstd;
      params.grad_sum[index] =
          rstd * (gradient(index) * rows.weight[column] - (means[0] + x * means[1]) / width);
    }
  }
}

// ---- tables -------------------------------------------------------------------------------------

// Where the sum of a run that does not begin and end in its part is left: in one of the part's two
// partial rows.
enum : int { kHead = 0, kTail = 1 };  // a run that began before; one that begins here and goes on

// One warp for each part of the sorted t and each 128 columns, however the parts fall into runs: a
// token that is a twentieth of all is summed by as many warps as any other twentieth. Lane l has
// the columns l, l + 32, l + 64 and l + 96; the rows of four t are read together.
constexpr int kPerLane = 4, kAhead = 4, kColumns = kPerLane * kWarp;
template <typename from_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    embedding_parts_kernel(EmbeddingCudaSums<from_t, stat_t> sums) {
  const int64_t part = int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int64_t first = part * kEmbeddingPart;
  if (first >= sums.count) return;
  const int64_t last = min(first + kEmbeddingPart, sums.count);
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t block = int64_t{blockIdx.y} * kColumns;
  const int32_t before = first > 0 ? sums.sorted_id[first - 1] : -1;
  const int32_t after = last < sums.count ? sums.sorted_id[last] : -1;

  stat_t sum[kPerLane] = {};
  int32_t run = -1;
  const auto finish = [&] {
    stat_t* to = sums.to + run * sums.width;
    if (run == before || run == after) {
      to = sums.partial + (2 * part + (run == before ? kHead : kTail)) * sums.width;
    }
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int64_t column = block + j * kWarp + lane;
      if (column < sums.width) to[column] = sum[j];
      sum[j] = 0;
    }
  };
  for (int64_t base = first; base < last; base += kAhead) {
    int32_t id[kAhead];
    stat_t value[kAhead][kPerLane];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int64_t m = min(base + a, last - 1);
      const from_t* from = sums.from + sums.sorted_t[m] * sums.width;
      id[a] = sums.sorted_id[m];
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        const int64_t column = block + j * kWarp + lane;
        value[a][j] = column < sums.width ? static_cast<stat_t>(number(from[column])) : stat_t(0);
      }
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (base + a >= last || id[a] >= sums.rows) break;  // ids without a row come last
      if (id[a] != run) {
        if (run >= 0) finish();
        run = id[a];
      }
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) sum[j] += value[a][j];
    }
  }
  if (run >= 0) finish();
}

// One block for each part and each 32 columns: where a run begins in it and goes on, adds up the
// run's parts. Each of the block's kSlices warps adds every kSlices-th, and these in order.
template <typename from_t, typename stat_t>
__global__ void __launch_bounds__(kWarp* kSlices)
    embedding_join_kernel(EmbeddingCudaSums<from_t, stat_t> sums) {
  __shared__ stat_t shared[kSlices][kWarp];
  const int64_t part = blockIdx.x, first = part * kEmbeddingPart;
  const int64_t last = first + kEmbeddingPart;
  if (last >= sums.count) return;
  const int32_t id = sums.sorted_id[last];
  if (id >= sums.rows || sums.sorted_id[last - 1] != id) return;
  if (first > 0 && sums.sorted_id[first - 1] == id) return;
  int64_t end = last + 1, high = sums.count;  // the run's end
  while (end < high) {
    const int64_t middle = (end + high) / 2;
    if (sums.sorted_id[middle] == id) {
      end = middle + 1;
    } else {
      high = middle;
    }
  }
  const int64_t last_part = (end - 1) / kEmbeddingPart;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int slice = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t column = int64_t{blockIdx.y} * kWarp + lane;
  stat_t sum = 0;
  if (column < sums.width) {
    if (slice == 0) sum = sums.partial[(2 * part + kTail) * sums.width + column];
#pragma unroll 4
    for (int64_t p = part + 1 + slice; p <= last_part; p += kSlices) {
      sum += sums.partial[(2 * p + kHead) * sums.width + column];
    }
  }
  shared[slice][lane] = sum;
  __syncthreads();
  if (slice != 0 || column >= sums.width) return;
#pragma unroll
  for (int s = 1; s < kSlices; ++s) sum += shared[s][lane];
  sums.to[id * sums.width + column] = sum;
}

// One block for each range of t and each row of a short table. Each warp looks through an eighth of
// the range for the row's t and adds those up, four at a time, 128 columns at a time; the block
// adds up its warps' sums in order.
template <typename from_t, typename stat_t>
__global__ void __launch_bounds__(kWarp* kSlices)
    embedding_short_kernel(EmbeddingShortSums<from_t, stat_t> sums) {
  __shared__ uint16_t members[kSlices][kMaxShortRange / kSlices];
  __shared__ stat_t shared[kSlices][kColumns];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int slice = static_cast<int>(threadIdx.x) / kWarp;
  const auto id = static_cast<int32_t>(blockIdx.y);
  const int64_t piece = sums.range / kSlices, first = blockIdx.x * sums.range + slice * piece;
  const int n = static_cast<int>(max(int64_t{0}, min(piece, sums.count - first)));

  int found = 0;
  for (int base = lane; base - lane < n; base += kAhead * kWarp) {
    int32_t seen[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int m = base + a * kWarp;
      seen[a] = m < n ? sums.ids[first + m] : -1;
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const unsigned which = __ballot_sync(kAllLanes, seen[a] == id);
      if (which == 0) continue;
      if (seen[a] == id) {
        members[slice][found + __popc(which & ((1u << lane) - 1))] =
            static_cast<uint16_t>(base + a * kWarp);
      }
      found += __popc(which);
    }
  }
  __syncwarp();

  stat_t* to = gridDim.x == 1 ? sums.to : sums.partial + blockIdx.x * sums.rows * sums.width;
  for (int64_t block = 0; block < sums.width; block += kColumns) {
    stat_t sum[kPerLane] = {};
    for (int base = 0; base < found; base += kAhead) {
      stat_t value[kAhead][kPerLane];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int m = members[slice][min(base + a, found - 1)];
        const from_t* from = sums.from + (first + m) * sums.width;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
          const int64_t column = block + j * kWarp + lane;
          value[a][j] = column < sums.width ? static_cast<stat_t>(number(from[column])) : stat_t(0);
        }
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        if (base + a >= found) break;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) sum[j] += value[a][j];
      }
    }
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) shared[slice][j * kWarp + lane] = sum[j];
    __syncthreads();
    const int64_t column = block + threadIdx.x;
    if (threadIdx.x < kColumns && column < sums.width) {
      stat_t total = 0;
#pragma unroll
      for (int s = 0; s < kSlices; ++s) total += shared[s][threadIdx.x];
      to[int64_t{id} * sums.width + column] = total;
    }
    __syncthreads();
  }
}

constexpr int64_t kMaxBlocks = int64_t{1} << 20;

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

template <typename out_t, typename stat_t>
void launch_embedding_sum(const EmbeddingSumParams<out_t, stat_t>& params, void* stream) {
  const EmbeddingRows<stat_t>& rows = params.rows;
  if (rows.count == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if constexpr (sizeof(stat_t) == sizeof(float)) {
    if (in_octets(rows.width, rows.token_table, rows.segment_table, rows.position_table,
                  rows.weight, params.bias, params.out)) {
      with_row_shape(rows.width, [&](auto shape) {
        launch(embedding_sum_kernel<out_t, shape.kLanes, shape.kOctets>,
               dim3(blocks_for(rows.count, kThreads / shape.kLanes)), dim3(kThreads), 0,
               cuda_stream, params);
      });
      return;
    }
  }
  const int64_t blocks = rows.count < kMaxBlocks ? rows.count : kMaxBlocks;
  launch(embedding_sum_general_kernel<out_t, stat_t>, dim3(static_cast<uint32_t>(blocks)),
         dim3(kThreads), 0, cuda_stream, params);
}

template <typename out_t, typename stat_t>
void launch_embedding_sum_backward(const EmbeddingSumBackwardParams<out_t, stat_t>& params,
                                   void* stream) {
  const EmbeddingRows<stat_t>& rows = params.rows;
  if (rows.count == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const dim3 grid(blocks_for(rows.count, params.group)), block(kThreads);
  if constexpr (sizeof(stat_t) == sizeof(float)) {
    if (in_octets(rows.width, rows.token_table, rows.segment_table, rows.position_table,
                  rows.weight, params.grad_out, params.grad_sum, params.partial)) {
      with_row_shape(rows.width, [&](auto shape) {
        launch(embedding_sum_backward_kernel<out_t, shape.kLanes, shape.kOctets>, grid, block, 0,
               cuda_stream, params);
      });
      return;
    }
  }
  launch(embedding_sum_general_backward_kernel<out_t, stat_t>, grid, block, 0, cuda_stream, params);
}

template <typename stat_t>
void launch_embedding_group_sums(const stat_t* partial, int64_t groups, int64_t width,
                                 stat_t* weight, stat_t* bias, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  launch_sum_groups<stat_t>({.partial = partial,
                             .groups = groups,
                             .stride = 2 * width,
                             .width = width,
                             .to = {weight, bias}},
                            2, cuda_stream);
}

template <typename from_t, typename stat_t>
void launch_embedding_grad_sums(const EmbeddingCudaSums<from_t, stat_t>& sums, void* stream) {
  if (sums.count == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const uint32_t parts = blocks_for(sums.count, kEmbeddingPart);
  launch(embedding_parts_kernel<from_t, stat_t>,
         dim3(blocks_for(parts, kThreads / kWarp), blocks_for(sums.width, kColumns)),
         dim3(kThreads), 0, cuda_stream, sums);
  launch(embedding_join_kernel<from_t, stat_t>, dim3(parts, blocks_for(sums.width, kWarp)),
         dim3(kWarp * kSlices), 0, cuda_stream, sums);
}

template <typename from_t, typename stat_t>
void launch_embedding_short_sums(const EmbeddingShortSums<from_t, stat_t>& sums, void* stream) {
  if (sums.count == 0 || sums.rows == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const uint32_t ranges = blocks_for(sums.count, sums.range);
  launch(embedding_short_kernel<from_t, stat_t>, dim3(ranges, static_cast<uint32_t>(sums.rows)),
         dim3(kWarp * kSlices), 0, cuda_stream, sums);
  if (ranges == 1) return;
  const int64_t numbers = sums.rows * sums.width;
  launch_sum_groups<stat_t>({.partial = sums.partial,
                             .groups = ranges,
                             .stride = numbers,
                             .width = numbers,
                             .to = {sums.to}},
                            1, cuda_stream);
}

#define LEXFORGE_INSTANTIATE(out_t, stat_t)                                                     \
  template void launch_embedding_sum(const EmbeddingSumParams<out_t, stat_t>&, void*);          \
  template void launch_embedding_sum_backward(const EmbeddingSumBackwardParams<out_t, stat_t>&, \
                                              void*);                                           \
  template void launch_embedding_grad_sums(const EmbeddingCudaSums<out_t, stat_t>&, void*);     \
  template void launch_embedding_short_sums(const EmbeddingShortSums<out_t, stat_t>&, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE
template void launch_embedding_group_sums(const float*, int64_t, int64_t, float*, float*, void*);
template void launch_embedding_group_sums(const double*, int64_t, int64_t, double*, double*, void*);

}  // namespace lexforge
