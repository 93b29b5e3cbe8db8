// What the CUDA kernels of attention share: which part of the problem a block has, and where it
// lies in memory.
#pragma once

#include <algorithm>
#include <climits>
#include <type_traits>

#include "attention/attention_cuda.h"
#include "common/cuda_launch.cuh"
#include "common/warp.cuh"

namespace lexforge {

// A block's part: one block of rows (of queries or of keys) of one head of one sequence.
struct AttentionItem {
  int64_t sequence, head;
  int first, length;  // first row of the block, rows of the sequence; none if first >= length
  int64_t token;      // the sequence's first row in [T, H]
};

// Neighbouring blocks of the grid share a head, whose rows then come from the L2 cache.
__device__ __forceinline__ AttentionItem attention_item(const AttentionShape& shape,
                                                        int64_t blocks_per_head, int64_t item,
                                                        int block_rows) {
  const int64_t task = item / blocks_per_head, block = item % blocks_per_head;
  const int64_t sequence = task / shape.heads;
  const AttentionSpan span = attention_span(shape, sequence);
  const int64_t first = block * block_rows;
  return {sequence, task % shape.heads, static_cast<int>(first < span.length ? first : span.length),
          static_cast<int>(span.length), span.first};
}

// Starts kernel(params..., blocks per head, first item) for every block of rows of every head, as
// many grids as it takes: only a bound of the lengths is known on the host, so blocks beyond the
// end of their sequence return at once.
template <typename Start>
void for_each_item(const AttentionShape& shape, int block_rows, const Start& start) {
  constexpr int64_t kMaxGrid = int64_t{1} << 30;
  const int64_t per_head = (shape.max_length + block_rows - 1) / block_rows;
  const int64_t items = shape.sequences * shape.heads * per_head;
  for (int64_t first = 0; first < items; first += kMaxGrid) {
    start(static_cast<uint32_t>(std::min(kMaxGrid, items - first)), per_head, first);
  }
}

// The rows of one head of one sequence.
template <typename scalar_t>
struct HeadRows {
  scalar_t* data;
  int64_t stride;
};

template <typename scalar_t>
__device__ __forceinline__ HeadRows<scalar_t> head_rows(const AttentionRows<scalar_t>& rows,
                                                        const AttentionShape& shape,
                                                        const AttentionItem& item) {
  const int64_t start = shape.cu_seqlens != nullptr ? item.token * rows.token_stride
                                                    : item.sequence * rows.sequence_stride;
  return {rows.data + start + item.head * rows.head_stride, rows.token_stride};
}

// Keys of query i.
__device__ __forceinline__ int keys_of(const AttentionShape& shape, const AttentionItem& item,
                                       int i) {
  return static_cast<int>(attention_keys(shape, item.sequence, i, item.length));
}

// Keys that at least one of the queries first ... last - 1 sees. All lanes of a warp call it.
__device__ __forceinline__ int keys_of_any(const AttentionShape& shape, const AttentionItem& item,
                                           int first, int last) {
  if (!shape.valid_per_query) return first < last ? keys_of(shape, item, last - 1) : 0;
  int most = 0;
  for (int i = first + static_cast<int>(threadIdx.x) % kWarp; i < last; i += kWarp) {
    most = max(most, keys_of(shape, item, i));
  }
  return __reduce_max_sync(kAllLanes, most);
}

// High word of the Philox position of the head's rows; see Dropout.
__device__ __forceinline__ uint64_t dropout_rows(const AttentionShape& shape,
                                                 const AttentionItem& item) {
  return static_cast<uint64_t>(item.sequence * shape.heads + item.head) << 32;
}

}  // namespace lexforge
