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
  int sequence, head;
  int first, length;  // first row of the block, rows of the sequence; none if first >= length
  int keys;           // that its queries see, but for causality; a bound if lengths are per query
  int64_t token;      // the sequence's first row in [T, H]
};

// Neighbouring blocks of the grid share a head, whose rows then come from the L2 cache. A task is a
// head of a sequence. Divisions are of 32 bits: of 64, they are longer than a block's share of a
// short sequence deserves.
__device__ __forceinline__ AttentionItem attention_item(const AttentionShape& shape,
                                                        uint32_t blocks_per_head,
                                                        uint32_t first_task, int block_rows) {
  const uint32_t heads = static_cast<uint32_t>(shape.heads);
  const uint32_t task = first_task + blockIdx.x / blocks_per_head;
  const uint32_t sequence = task / heads;
  const AttentionSpan span = attention_span(shape, sequence);
  const int length = static_cast<int>(span.length);
  int keys = length;
  if (shape.valid_lens != nullptr && !shape.valid_per_query) {
    keys = min(max(shape.valid_lens[sequence], 0), length);
  }
  const int first = static_cast<int>(blockIdx.x % blocks_per_head) * block_rows;
  return {static_cast<int>(sequence),
          static_cast<int>(task % heads),
          min(first, length),
          length,
          keys,
          span.first};
}

// Starts kernel(params..., blocks per head, first task) for every block of rows of every head, as
// many grids of whole heads as it takes: only a bound of the lengths is known on the host, so
// blocks beyond the end of their sequence return at once.
template <typename Start>
void for_each_item(const AttentionShape& shape, int block_rows, const Start& start) {
  constexpr int64_t kMaxGrid = int64_t{1} << 30;
  const int64_t per_head = (shape.max_length + block_rows - 1) / block_rows;
  if (per_head == 0) return;
  const int64_t tasks = shape.sequences * shape.heads, at_once = kMaxGrid / per_head;
  for (int64_t first = 0; first < tasks; first += at_once) {
    start(static_cast<uint32_t>(std::min(at_once, tasks - first) * per_head),
          static_cast<uint32_t>(per_head), static_cast<uint32_t>(first));
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

// Keys of query i: attention_keys.
__device__ __forceinline__ int keys_of(const AttentionShape& shape, const AttentionItem& item,
                                       int i) {
  int n = item.keys;
  if (shape.valid_per_query) {
    n = min(max(shape.valid_lens[item.sequence * shape.max_length + i], 0), item.length);
  }
  return shape.causal ? min(n, i + 1) : n;
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
