#include "attention/attention_mma.cuh"

namespace lexforge {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp, kStages = 2;
constexpr int kPart = 32;  // keys whose scores a warp has in registers at a time

template <int kDim>
constexpr size_t forward_bytes(int rows) {
  return sizeof(Bfloat16) * kDim * (rows + 2 * kStages * kTileRows);
}

// One warp's 16 kStrips queries: their results so far, and the statistics that rescale them.
template <int kDim, int kStrips>
struct ForwardWarp {
  float out[kStrips][kDim / 8][4] = {};
  float top[kStrips][2], sum[kStrips][2] = {};  // of the rows g and g + 8 of each strip
  int keys[kStrips][2];

  // Adds kPart keys, from row `part` of the tiles of keys and values on.
  __device__ __forceinline__ void add(const Bfloat16* q, const Bfloat16* k, const Bfloat16* v,
                                      int part, int first_row, int first_key, int fewest_keys,
                                      const AttentionShape& shape, uint64_t seed, uint64_t position,
                                      int lane) {
    constexpr int kTiles = kPart / 8;
    const bool dropping = shape.dropout.threshold != 0;
    uint32_t kept[kStrips];
#pragma unroll
    for (int m = 0; m < kStrips; ++m) {
      kept[m] =
          dropping ? keep_bits<kTiles>(shape.dropout, seed, position + 16 * m, first_key, lane) : 0;
    }
    float scores[kStrips][kTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      uint32_t a[kStrips][4];
#pragma unroll
      for (int m = 0; m < kStrips; ++m) load_a<kDim>(a[m], q, first_row + 16 * m, 2 * step, lane);
#pragma unroll
      for (int i = 0; i < kTiles; i += 2) {
        uint32_t b[4];
        load_b<kDim>(b, k, part + 8 * i, 2 * step, lane);
#pragma unroll
        for (int m = 0; m < kStrips; ++m) {
          mma_bf16(scores[m][i], a[m], b[0], b[1]);
          mma_bf16(scores[m][i + 1], a[m], b[2], b[3]);
        }
      }
    }
    if (first_key + kPart > fewest_keys) {
#pragma unroll
      for (int m = 0; m < kStrips; ++m) {
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int key = first_key + 8 * i + 2 * (lane % 4) + e % 2;
            if (key >= keys[m][e / 2]) scores[m][i][e] = -INFINITY;
          }
        }
      }
    }
    const float scale = static_cast<float>(shape.scale) * kLog2E;
#pragma unroll
    for (int m = 0; m < kStrips; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float highest = top[m][half];
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          highest = fmaxf(highest, fmaxf(scores[m][i][2 * half], scores[m][i][2 * half + 1]));
        }
        highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2));
        // Rows without keys yet: 2^-infinity everywhere below.
        const float base = highest == -INFINITY ? 0.0f : highest * scale;
        if (first_key > 0) {
          const float rescale = exp2_fast(fmaf(top[m][half], scale, -base));
          sum[m][half] *= rescale;
#pragma unroll
          for (int i = 0; i < kDim / 8; ++i) {
            out[m][i][2 * half] *= rescale;
            out[m][i][2 * half + 1] *= rescale;
          }
        }
        top[m][half] = highest;
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            scores[m][i][e] = exp2_fast(fmaf(scores[m][i][e], scale, -base));
            sum[m][half] += scores[m][i][e];
          }
        }
      }
    }
    if (dropping) {
#pragma unroll
      for (int m = 0; m < kStrips; ++m) {
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            if (!is_kept(kept[m], i, e)) scores[m][i][e] = 0.0f;
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kTiles; i += 2) {
      uint32_t a[kStrips][4];
#pragma unroll
      for (int m = 0; m < kStrips; ++m) pack_a(a[m], scores[m][i], scores[m][i + 1]);
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step) {
        uint32_t b[4];
        load_b_transposed<kDim>(b, v, part + 8 * i, 2 * step, lane);
#pragma unroll
        for (int m = 0; m < kStrips; ++m) {
          mma_bf16(out[m][2 * step], a[m], b[0], b[1]);
          mma_bf16(out[m][2 * step + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
};

// A block of four warps has 64 kStrips queries of one head, a warp 16 kStrips of them with their
// results in registers. Keys and values come in tiles of 64 through two stages, the next one on its
// way while one is worked on: sequences of up to 128 tokens are in shared memory whole, those of up
// to 64 are never rescaled. Two strips a warp halve the reads of shared memory per product, which
// bound it, and take the registers of head_dim 64. Blocks on a multiprocessor, from registers: four
// up to head_dim 64 with one strip, else two.
template <int kDim, int kStrips>
__global__ void __launch_bounds__(kThreads, kDim <= 64 && kStrips == 1 ? 4 : 1)
    attention_forward_mma_kernel(AttentionParams<Bfloat16, float> params, bool aligned,
                                 uint32_t blocks_per_head, uint32_t first_task) {
  constexpr int kRows = 16 * kStrips * kWarps, kTile = kTileRows * kDim;
  LEXFORGE_DYNAMIC_SHARED(Bfloat16, shared);
  Bfloat16* q_tile = shared;
  Bfloat16* k_tiles = q_tile + kRows * kDim;
  Bfloat16* v_tiles = k_tiles + kStages * kTile;
  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_task, kRows);
  if (item.first >= item.length) return;
  const int dim = static_cast<int>(shape.dim), end = min(item.first + kRows, item.length);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * 16 * kStrips;
  const int block_keys = keys_of_any(shape, item, item.first, end);

  const auto k = head_rows(params.k, shape, item), v = head_rows(params.v, shape, item);
  const auto fetch = [&](int tile) {
    const int at = tile % kStages * kTile, first = tile * kTileRows;
    fetch_tile<kDim, kTileRows, kThreads>(k_tiles + at, k, first, block_keys, dim, aligned);
    fetch_tile<kDim, kTileRows, kThreads>(v_tiles + at, v, first, block_keys, dim, aligned);
  };
  fetch_tile<kDim, kRows, kThreads>(q_tile, head_rows(params.q, shape, item), item.first, end, dim,
                                    aligned);
  if (block_keys > 0) fetch(0);
  commit_copies();

  ForwardWarp<kDim, kStrips> warp;
  int fewest = INT_MAX, most = 0;
#pragma unroll
  for (int m = 0; m < kStrips; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = item.first + warp_row + 16 * m + 8 * half + lane / 4;
      warp.keys[m][half] = row < end ? keys_of(shape, item, row) : 0;
      warp.top[m][half] = -INFINITY;
      fewest = min(fewest, warp.keys[m][half]);
      most = max(most, warp.keys[m][half]);
    }
  }
  fewest = __reduce_min_sync(kAllLanes, fewest);
  most = __reduce_max_sync(kAllLanes, most);
  const uint64_t seed = shape.dropout.threshold != 0 ? *shape.dropout.seed : 0;
  const uint64_t position = dropout_rows(shape, item) + item.first + warp_row + lane / 4;

  for (int tile = 0; tile * kTileRows < block_keys; ++tile) {
    if ((tile + 1) * kTileRows < block_keys) fetch(tile + 1);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    const Bfloat16* k_tile = k_tiles + tile % kStages * kTile;
    const Bfloat16* v_tile = v_tiles + tile % kStages * kTile;
#pragma unroll 1
    for (int part = 0; part < kTileRows; part += kPart) {
      const int first_key = tile * kTileRows + part;
      if (first_key >= most) break;
      warp.add(q_tile, k_tile, v_tile, part, warp_row, first_key, fewest, shape, seed, position,
               lane);
    }
    __syncthreads();
  }
  wait_for_copies<0>();

  const auto out = head_rows(params.out, shape, item);
#pragma unroll
  for (int m = 0; m < kStrips; ++m) {
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = warp.sum[m][half];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      factor[half] = sum == 0.0f ? 0.0f : shape.dropout.scale / sum;
      const int row = item.first + warp_row + 16 * m + 8 * half + lane / 4;
      if (row < end && lane % 4 == 0) {
        params.lse[(item.token + row) * shape.heads + item.head] =
            sum == 0.0f ? -INFINITY
                        : warp.top[m][half] * static_cast<float>(shape.scale) + logf(sum);
      }
    }
#pragma unroll
    for (int group = 0; group < kDim / 32; ++group) {
      store_results(out, item.first + warp_row + 16 * m, end, 32 * group, dim, aligned,
                    warp.out[m] + 4 * group, factor[0], factor[1], lane);
    }
  }
}

template <int kDim, int kStrips>
void start(const AttentionParams<Bfloat16, float>& params, bool aligned, void* stream) {
  constexpr int kRows = 16 * kStrips * kWarps;
  for_each_item(params.shape, kRows, [&](uint32_t grid, uint32_t per_head, uint32_t first) {
    launch(attention_forward_mma_kernel<kDim, kStrips>, grid, kThreads, forward_bytes<kDim>(kRows),
           static_cast<cudaStream_t>(stream), params, aligned, per_head, first);
  });
}

}  // namespace

void launch_attention_mma(const AttentionParams<Bfloat16, float>& params, bool aligned,
                          void* stream) {
  with_columns(params.shape.dim, [&](auto columns) {
    if constexpr (columns <= 64) {
      if (params.shape.max_length > 128) return start<columns, 2>(params, aligned, stream);
    }
    start<columns, 1>(params, aligned, stream);
  });
}

}  // namespace lexforge
