#include "attention/attention_mma.cuh"

namespace lexforge {
namespace {

using BackwardParams = AttentionBackwardParams<Bfloat16, float>;

constexpr int kStages = 2;

// What the products need to know of a tile's queries. One without keys is masked whatever else
// stands here.
struct QueryStats {
  float lse[kTileRows], delta[kTileRows];
  int keys[kTileRows];
};

// P and E of an entry. `lse` is in units of log 2 like `scale`; `kept` is 0 where dropout took the
// entry, else what it multiplies the others by.
__device__ __forceinline__ void entry(float& score, float& error, bool visible, float scale,
                                      float lse, float delta, float kept) {
  const float p = visible ? exp2_fast(fmaf(score, scale, -lse)) : 0.0f;
  error = visible ? p * (kept * error - delta) : 0.0f;
  score = kept == 0.0f ? 0.0f : p;
}

// Which of a warp's 16 kStrips keys x 16 queries dropout keeps, for entries laid out as transposed
// results: lane (g, t) has the keys g and g + 8 of every strip m and the queries 2 t + e and
// 8 + 2 t + e, in bit kept_bit(...). The lanes of keys g and g ^ 1 need the two halves of the same
// words: each draws them for eight of the queries, and hands over what concerns the other's key.
template <int kStrips>
__device__ __forceinline__ constexpr int kept_bit(int i, int e, int m, int lower) {
  return 4 * kStrips * i + 2 * kStrips * e + 2 * m + lower;
}

template <int kStrips>
__device__ __forceinline__ uint32_t transposed_keep_bits(const Dropout& dropout, uint64_t seed,
                                                         uint64_t position, int first_key,
                                                         int lane) {
  const int g = lane / 4, t = lane % 4;
  uint32_t even_keys = 0, odd_keys = 0;
#pragma unroll 1
  for (int e = 0; e < 2; ++e) {
    const PhiloxQuad quad =
        philox_at(seed, 0, position + 8 * (g % 2) + 2 * t + e, RandomStream::kAttention,
                  static_cast<uint32_t>(4 * (first_key / 32) + g / 2));
    const bool upper = kStrips == 1 && first_key % 32 != 0;
    uint32_t even = 0, odd = 0;
#pragma unroll
    for (int i = 0; i < 2 * kStrips; ++i) {
      const uint32_t word = upper ? quad.word[(i + 2) % 4] : quad.word[i];
      even |= uint32_t{(word & 0xFFFFu) >= dropout.threshold} << i;
      odd |= uint32_t{word >> 16 >= dropout.threshold} << i;
    }
    even_keys |= even << (2 * kStrips * e);
    odd_keys |= odd << (2 * kStrips * e);
  }
  const bool is_odd = g % 2 != 0;
  const uint32_t own = is_odd ? odd_keys : even_keys;
  const uint32_t got = __shfl_xor_sync(kAllLanes, is_odd ? even_keys : odd_keys, 4);
  return is_odd ? got | own << (4 * kStrips) : own | got << (4 * kStrips);
}

// A block has 16 kStrips kWarps keys of one head, a warp 16 kStrips of them with the gradients of
// their k and v in registers; it goes through the queries in tiles of 64, sixteen at a time:
//
//   S^T = k q^T, dP^T = v g^T; P^T and E^T in registers, where they are operands of
//   dv += P^T g, dk += E^T q
//
// Where the block has all keys of the head (kWithQuery: sequences up to 256, and what registers
// hold) E^T also goes to shared memory, and dq = E k of the tile is complete and written at once:
// five products in all, every input read once. Longer ones leave dq to a kernel of its own, which
// does S and dP again: seven products, but no sums across blocks, whose order would have to be
// kept.
template <int kDim, int kWarps, int kStrips, bool kWithQuery>
struct KeyBlock {
  static constexpr int kThreads = kWarps * kWarp, kKeys = 16 * kStrips * kWarps;
  static constexpr int kTile = kTileRows * kDim;
  static constexpr size_t kBytes = sizeof(Bfloat16) * (2 * kKeys * kDim + 2 * kStages * kTile +
                                                       (kWithQuery ? kKeys * kTileRows : 0)) +
                                   kStages * sizeof(QueryStats);
};

template <int kDim, int kWarps, int kStrips, bool kWithQuery>
__global__ void __launch_bounds__(kWarps* kWarp, kWarps == 4 && kStrips == 1 && kDim <= 64 ? 3 : 1)
    attention_backward_keys_kernel(BackwardParams params, const float* delta, bool aligned,
                                   int64_t blocks_per_head, int64_t first_item) {
  using Block = KeyBlock<kDim, kWarps, kStrips, kWithQuery>;
  constexpr int kThreads = Block::kThreads, kKeys = Block::kKeys, kTile = Block::kTile;
  LEXFORGE_DYNAMIC_SHARED(Bfloat16, shared);
  Bfloat16* k_tile = shared;
  Bfloat16* v_tile = k_tile + kKeys * kDim;
  Bfloat16* q_tiles = v_tile + kKeys * kDim;
  Bfloat16* g_tiles = q_tiles + kStages * kTile;
  Bfloat16* e_tile = g_tiles + kStages * kTile;  // E^T: a row of 64 queries for each key
  auto* stats = reinterpret_cast<QueryStats*>(e_tile + (kWithQuery ? kKeys * kTileRows : 0));

  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_item + blockIdx.x, kKeys);
  if (item.first >= item.length) return;
  const int dim = static_cast<int>(shape.dim), length = item.length;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4, t = lane % 4;
  const int seen_keys = keys_of_any(shape, item, 0, length);
  const int warp_key = warp * 16 * kStrips, first_key = item.first + warp_key;

  const auto q = head_rows(params.q, shape, item), k = head_rows(params.k, shape, item);
  const auto v = head_rows(params.v, shape, item), grad = head_rows(params.grad_out, shape, item);
  const auto fetch = [&](int tile) {
    const int stage = tile % kStages, first = tile * kTileRows;
    const auto seeing = [&](int i) { return i < length && keys_of(shape, item, i) > 0; };
    fetch_tile<kDim, kTileRows, kThreads>(q_tiles + stage * kTile, q, first, dim, aligned, seeing);
    fetch_tile<kDim, kTileRows, kThreads>(g_tiles + stage * kTile, grad, first, dim, aligned,
                                          seeing);
    for (int i = static_cast<int>(threadIdx.x); i < kTileRows; i += kThreads) {
      const bool there = first + i < length;
      const int64_t row = there ? (item.token + first + i) * shape.heads + item.head : 0;
      copy_async<4>(&stats[stage].lse[i], params.lse + row, there);
      copy_async<4>(&stats[stage].delta[i], delta + row, there);
      stats[stage].keys[i] = there ? keys_of(shape, item, first + i) : 0;
    }
  };
  const auto seen = [&](int key) { return key < seen_keys; };
  fetch_tile<kDim, kKeys, kThreads>(k_tile, k, item.first, dim, aligned, seen);
  fetch_tile<kDim, kKeys, kThreads>(v_tile, v, item.first, dim, aligned, seen);
  const int first_tile = shape.causal ? item.first / kTileRows : 0;
  fetch(first_tile);
  commit_copies();

  const float scale = static_cast<float>(shape.scale), scale2 = scale * kLog2E;
  const float kept_scale = shape.dropout.scale;
  const bool dropping = shape.dropout.threshold != 0;
  const uint64_t seed = dropping ? *shape.dropout.seed : 0;
  const uint64_t position = dropout_rows(shape, item);
  float grad_k[kStrips][kDim / 8][4] = {}, grad_v[kStrips][kDim / 8][4] = {};

  for (int tile = first_tile; tile * kTileRows < length; ++tile) {
    if ((tile + 1) * kTileRows < length) fetch(tile + 1);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    const int stage = tile % kStages, tile_row = tile * kTileRows;
    const Bfloat16* q_tile = q_tiles + stage * kTile;
    const Bfloat16* g_tile = g_tiles + stage * kTile;
    // Keys that the tile's queries see; a warp whose keys are all beyond has nothing to add.
    const int tile_keys = shape.causal ? min(seen_keys, tile_row + kTileRows) : seen_keys;
    if (first_key < tile_keys) {
#pragma unroll 1
      for (int row = 0; row < kTileRows && tile_row + row < length; row += 16) {
        const uint32_t kept =
            dropping ? transposed_keep_bits<kStrips>(shape.dropout, seed, position + tile_row + row,
                                                     first_key, lane)
                     : 0;
        float scores[kStrips][2][4] = {}, errors[kStrips][2][4] = {};
// All unrolled, the loads that the compiler then moves ahead take more registers than there are.
#pragma unroll 2
        for (int step = 0; step < kDim / 16; ++step) {
          uint32_t b[4], a[4];
          load_b<kDim>(b, q_tile, row, 2 * step, lane);
#pragma unroll
          for (int m = 0; m < kStrips; ++m) {
            load_a<kDim>(a, k_tile, warp_key + 16 * m, 2 * step, lane);
            mma_bf16(scores[m][0], a, b[0], b[1]);
            mma_bf16(scores[m][1], a, b[2], b[3]);
          }
          load_b<kDim>(b, g_tile, row, 2 * step, lane);
#pragma unroll
          for (int m = 0; m < kStrips; ++m) {
            load_a<kDim>(a, v_tile, warp_key + 16 * m, 2 * step, lane);
            mma_bf16(errors[m][0], a, b[0], b[1]);
            mma_bf16(errors[m][1], a, b[2], b[3]);
          }
        }
        const auto entries = [&](auto kept) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              const int query = row + 8 * i + 2 * t + e;
              const float lse = stats[stage].lse[query] * kLog2E, d = stats[stage].delta[query];
              const int keys = stats[stage].keys[query] - first_key - g;
#pragma unroll
              for (int m = 0; m < kStrips; ++m) {
                entry(scores[m][i][e], errors[m][i][e], 16 * m < keys, scale2, lse, d,
                      kept(i, e, m, 0));
                entry(scores[m][i][e + 2], errors[m][i][e + 2], 16 * m + 8 < keys, scale2, lse, d,
                      kept(i, e, m, 1));
              }
            }
          }
        };
        if (dropping) {
          entries([&](int i, int e, int m, int lower) {
            return (kept >> kept_bit<kStrips>(i, e, m, lower) & 1u) != 0 ? kept_scale : 0.0f;
          });
        } else {
          entries([](int, int, int, int) { return 1.0f; });
        }
        uint32_t p[kStrips][4], error[kStrips][4];
#pragma unroll
        for (int m = 0; m < kStrips; ++m) {
          pack_a(p[m], scores[m][0], scores[m][1]);
          pack_a(error[m], errors[m][0], errors[m][1]);
          if constexpr (kWithQuery) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int key = warp_key + 16 * m + g + i % 2 * 8;
              Bfloat16* to = e_tile + tile_offset<kTileRows>(key, row / 8 + i / 2) + 2 * t;
              *reinterpret_cast<uint32_t*>(to) = error[m][i];
            }
          }
        }
#pragma unroll
        for (int step = 0; step < kDim / 16; ++step) {
          uint32_t b[4];
          load_b_transposed<kDim>(b, g_tile, row, 2 * step, lane);
#pragma unroll
          for (int m = 0; m < kStrips; ++m) {
            mma_bf16(grad_v[m][2 * step], p[m], b[0], b[1]);
            mma_bf16(grad_v[m][2 * step + 1], p[m], b[2], b[3]);
          }
          load_b_transposed<kDim>(b, q_tile, row, 2 * step, lane);
#pragma unroll
          for (int m = 0; m < kStrips; ++m) {
            mma_bf16(grad_k[m][2 * step], error[m], b[0], b[1]);
            mma_bf16(grad_k[m][2 * step + 1], error[m], b[2], b[3]);
          }
        }
      }
    }
    __syncthreads();
    if constexpr (kWithQuery) {
      const int row = warp % 4 * 16;
      if (tile_row + row < length) {
        const auto grad_q = head_rows(params.grad_q, shape, item);
#pragma unroll 1
        for (int group = warp / 4; group < kDim / 32; group += kWarps / 4) {
          float result[4][4] = {};
#pragma unroll 1
          for (int key = 0; key < tile_keys; key += 16) {
            uint32_t a[4], b[4];
            load_a_transposed<kTileRows>(a, e_tile, key, row / 8, lane);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              load_b_transposed<kDim>(b, k_tile, key, 4 * group + 2 * i, lane);
              mma_bf16(result[2 * i], a, b[0], b[1]);
              mma_bf16(result[2 * i + 1], a, b[2], b[3]);
            }
          }
          store_results(grad_q, tile_row + row, length, 32 * group, dim, aligned, result, scale,
                        scale, lane);
        }
      }
    }
  }
  wait_for_copies<0>();

  const auto to_k = head_rows(params.grad_k, shape, item);
  const auto to_v = head_rows(params.grad_v, shape, item);
#pragma unroll
  for (int m = 0; m < kStrips; ++m) {
#pragma unroll
    for (int group = 0; group < kDim / 32; ++group) {
      store_results(to_k, first_key + 16 * m, length, 32 * group, dim, aligned,
                    grad_k[m] + 4 * group, scale, scale, lane);
      store_results(to_v, first_key + 16 * m, length, 32 * group, dim, aligned,
                    grad_v[m] + 4 * group, kept_scale, kept_scale, lane);
    }
  }
}

constexpr int kQueryWarps = 4, kQueryThreads = kQueryWarps * kWarp;

template <int kDim>
constexpr size_t query_bytes(int rows) {
  return sizeof(Bfloat16) * kDim * (2 * rows + 2 * kStages * kTileRows);
}

// dq of sequences that no block holds whole: like the forward kernel, a warp has 16 kStrips queries
// and the keys and values come in tiles of 64, of which it takes 32 at a time.
template <int kDim, int kStrips>
__global__ void __launch_bounds__(kQueryThreads, 2)
    attention_backward_queries_kernel(BackwardParams params, const float* delta, bool aligned,
                                      int64_t blocks_per_head, int64_t first_item) {
  constexpr int kRows = 16 * kStrips * kQueryWarps, kTile = kTileRows * kDim;
  LEXFORGE_DYNAMIC_SHARED(Bfloat16, shared);
  Bfloat16* q_tile = shared;
  Bfloat16* g_tile = q_tile + kRows * kDim;
  Bfloat16* k_tiles = g_tile + kRows * kDim;
  Bfloat16* v_tiles = k_tiles + kStages * kTile;
  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_item + blockIdx.x, kRows);
  if (item.first >= item.length) return;
  const int dim = static_cast<int>(shape.dim), end = min(item.first + kRows, item.length);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * 16 * kStrips;
  const int block_keys = keys_of_any(shape, item, item.first, end);

  const auto k = head_rows(params.k, shape, item), v = head_rows(params.v, shape, item);
  const auto fetch = [&](int tile) {
    const auto seen = [&](int key) { return key < block_keys; };
    const int at = tile % kStages * kTile, first = tile * kTileRows;
    fetch_tile<kDim, kTileRows, kQueryThreads>(k_tiles + at, k, first, dim, aligned, seen);
    fetch_tile<kDim, kTileRows, kQueryThreads>(v_tiles + at, v, first, dim, aligned, seen);
  };
  const auto there = [&](int row) { return row < end; };
  fetch_tile<kDim, kRows, kQueryThreads>(q_tile, head_rows(params.q, shape, item), item.first, dim,
                                         aligned, there);
  fetch_tile<kDim, kRows, kQueryThreads>(g_tile, head_rows(params.grad_out, shape, item),
                                         item.first, dim, aligned, there);
  if (block_keys > 0) fetch(0);
  commit_copies();

  float lse[kStrips][2], deltas[kStrips][2];
  int keys[kStrips][2], most = 0;
#pragma unroll
  for (int m = 0; m < kStrips; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = item.first + warp_row + 16 * m + 8 * half + lane / 4;
      const int64_t at = row < end ? (item.token + row) * shape.heads + item.head : 0;
      keys[m][half] = row < end ? keys_of(shape, item, row) : 0;
      lse[m][half] = row < end ? params.lse[at] * kLog2E : 0.0f;
      deltas[m][half] = row < end ? delta[at] : 0.0f;
      most = max(most, keys[m][half]);
    }
  }
  most = __reduce_max_sync(kAllLanes, most);
  const float scale = static_cast<float>(shape.scale), scale2 = scale * kLog2E;
  const bool dropping = shape.dropout.threshold != 0;
  const uint64_t seed = dropping ? *shape.dropout.seed : 0;
  const uint64_t position = dropout_rows(shape, item) + item.first + warp_row + lane / 4;
  float grad_q[kStrips][kDim / 8][4] = {};

  for (int tile = 0; tile * kTileRows < block_keys; ++tile) {
    if ((tile + 1) * kTileRows < block_keys) fetch(tile + 1);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    const Bfloat16* k_tile = k_tiles + tile % kStages * kTile;
    const Bfloat16* v_tile = v_tiles + tile % kStages * kTile;
#pragma unroll 1
    for (int part = 0; part < kTileRows; part += 32) {
      const int first_key = tile * kTileRows + part;
      if (first_key >= most) break;
      uint32_t kept[kStrips];
#pragma unroll
      for (int m = 0; m < kStrips; ++m) {
        kept[m] = dropping ? keep_bits<4>(shape.dropout, seed, position + 16 * m, first_key, lane)
                           : ~uint32_t{0};
      }
      float scores[kStrips][4][4] = {}, errors[kStrips][4][4] = {};
// All unrolled, the loads that the compiler then moves ahead take more registers than there are.
#pragma unroll 2
      for (int step = 0; step < kDim / 16; ++step) {
        uint32_t a[kStrips][4], b[4];
#pragma unroll
        for (int m = 0; m < kStrips; ++m)
          load_a<kDim>(a[m], q_tile, warp_row + 16 * m, 2 * step, lane);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          load_b<kDim>(b, k_tile, part + 16 * i, 2 * step, lane);
#pragma unroll
          for (int m = 0; m < kStrips; ++m) {
            mma_bf16(scores[m][2 * i], a[m], b[0], b[1]);
            mma_bf16(scores[m][2 * i + 1], a[m], b[2], b[3]);
          }
        }
#pragma unroll
        for (int m = 0; m < kStrips; ++m)
          load_a<kDim>(a[m], g_tile, warp_row + 16 * m, 2 * step, lane);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          load_b<kDim>(b, v_tile, part + 16 * i, 2 * step, lane);
#pragma unroll
          for (int m = 0; m < kStrips; ++m) {
            mma_bf16(errors[m][2 * i], a[m], b[0], b[1]);
            mma_bf16(errors[m][2 * i + 1], a[m], b[2], b[3]);
          }
        }
      }
#pragma unroll
      for (int m = 0; m < kStrips; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int key = first_key + 8 * i + 2 * (lane % 4) + e % 2;
            entry(scores[m][i][e], errors[m][i][e], key < keys[m][e / 2], scale2, lse[m][e / 2],
                  deltas[m][e / 2], is_kept(kept[m], i, e) ? shape.dropout.scale : 0.0f);
          }
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        uint32_t a[kStrips][4];
#pragma unroll
        for (int m = 0; m < kStrips; ++m) pack_a(a[m], errors[m][2 * i], errors[m][2 * i + 1]);
#pragma unroll
        for (int step = 0; step < kDim / 16; ++step) {
          uint32_t b[4];
          load_b_transposed<kDim>(b, k_tile, part + 16 * i, 2 * step, lane);
#pragma unroll
          for (int m = 0; m < kStrips; ++m) {
            mma_bf16(grad_q[m][2 * step], a[m], b[0], b[1]);
            mma_bf16(grad_q[m][2 * step + 1], a[m], b[2], b[3]);
          }
        }
      }
    }
    __syncthreads();
  }
  wait_for_copies<0>();

  const auto to_q = head_rows(params.grad_q, shape, item);
#pragma unroll
  for (int m = 0; m < kStrips; ++m) {
#pragma unroll
    for (int group = 0; group < kDim / 32; ++group) {
      store_results(to_q, item.first + warp_row + 16 * m, end, 32 * group, dim, aligned,
                    grad_q[m] + 4 * group, scale, scale, lane);
    }
  }
}

template <int kDim, int kWarps, int kStrips, bool kWithQuery>
void start_keys(const BackwardParams& params, const float* delta, bool aligned, void* stream) {
  using Block = KeyBlock<kDim, kWarps, kStrips, kWithQuery>;
  for_each_item(params.shape, Block::kKeys, [&](uint32_t grid, int64_t per_head, int64_t first) {
    launch(attention_backward_keys_kernel<kDim, kWarps, kStrips, kWithQuery>, grid, Block::kThreads,
           Block::kBytes, static_cast<cudaStream_t>(stream), params, delta, aligned, per_head,
           first);
  });
}

template <int kDim, int kStrips>
void start_queries(const BackwardParams& params, const float* delta, bool aligned, void* stream) {
  constexpr int kRows = 16 * kStrips * kQueryWarps;
  for_each_item(params.shape, kRows, [&](uint32_t grid, int64_t per_head, int64_t first) {
    launch(attention_backward_queries_kernel<kDim, kStrips>, grid, kQueryThreads,
           query_bytes<kDim>(kRows), static_cast<cudaStream_t>(stream), params, delta, aligned,
           per_head, first);
  });
}

}  // namespace

void launch_attention_backward_mma(const BackwardParams& params, const float* delta, bool aligned,
                                   void* stream) {
  const int64_t length = params.shape.max_length;
  with_columns(params.shape.dim, [&](auto columns) {
    constexpr int kDim = columns;
    if (length <= 64) return start_keys<kDim, 4, 1, true>(params, delta, aligned, stream);
    if constexpr (kDim <= 64) {
      if (length <= 128) return start_keys<kDim, 4, 2, true>(params, delta, aligned, stream);
      if (length <= 256) return start_keys<kDim, 8, 2, true>(params, delta, aligned, stream);
      start_keys<kDim, 4, 2, false>(params, delta, aligned, stream);
      start_queries<kDim, 2>(params, delta, aligned, stream);
    } else {
      if (length <= 128) return start_keys<kDim, 8, 1, true>(params, delta, aligned, stream);
      start_keys<kDim, 8, 1, false>(params, delta, aligned, stream);
      start_queries<kDim, 1>(params, delta, aligned, stream);
    }
  });
}

}  // namespace lexforge
