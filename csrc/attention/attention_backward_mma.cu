#include "attention/attention_mma.cuh"

namespace lexforge {
namespace {

using BackwardParams = AttentionBackwardParams<Bfloat16, float>;

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
// With kWithQuery, E^T also goes to shared memory, and dq = E k of the tile follows: five products
// in all. delta = dot(g, out) is found here, too. What becomes of dq depends on whether the block
// has all keys of the head. If so, dq is complete and written at once: this kernel is the only one
// and reads every input once. If not, the block leaves its share of dq in float32, and a second
// kernel sums the shares in the order of the keys: deterministic, whichever block is first.
//
// Without kWithQuery dq is left to a kernel that does S and dP again, seven products in all: for
// sequences whose shares would take too much memory.
//
// Blocks on a multiprocessor of sm_90, from registers: three of four warps with one strip up to
// head_dim 64, two of four warps otherwise, one of eight. Shared memory is enough for them, and on
// sm_80 for at least one.
template <int kDim, int kWarps, int kStrips, bool kWithQuery>
struct KeyBlock {
  static constexpr int kThreads = kWarps * kWarp, kKeys = 16 * kStrips * kWarps;
  static constexpr int kTile = kTileRows * kDim;
  // Who has 64 keys has all of the head, and its queries are a single tile.
  static constexpr int kStages = kWithQuery && kKeys <= kTileRows ? 1 : 2;
  static constexpr size_t kBytes =
      sizeof(Bfloat16) *
          (2 * kKeys * kDim + 2 * kStages * kTile + (kWithQuery ? kTile + kKeys * kTileRows : 0)) +
      kStages * sizeof(QueryStats);
};

// sum += dot(x, y) of eight elements each.
__device__ __forceinline__ void add_dot(float& sum, const uint4& x, const uint4& y) {
  const uint32_t left[4] = {x.x, x.y, x.z, x.w}, right[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum = fmaf(__uint_as_float(left[i] << 16), __uint_as_float(right[i] << 16), sum);
    sum =
        fmaf(__uint_as_float(left[i] & 0xFFFF0000u), __uint_as_float(right[i] & 0xFFFF0000u), sum);
  }
}

__device__ __forceinline__ float4 sum_of(const float4& x, const float4& y) {
  return make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
}

// The dots of the rows of two tiles. A thread multiplies those chunks that it fetched itself, which
// it sees without a barrier and may fetch anew right after; the dots are to be seen after a
// barrier. All lanes of a warp call it.
template <int kColumns, int kThreads>
__device__ __forceinline__ void dots_of_fetched(float (&dots)[kTileRows], const Bfloat16* x,
                                                const Bfloat16* y) {
  using Pattern = FetchPattern<kColumns, kThreads>;
  const Pattern pattern;
#pragma unroll
  for (int row = 0; row < kTileRows; row += Pattern::kRowStep) {
    float sum = 0.0f;
#pragma unroll
    for (int column = 0; column < kColumns; column += 8 * Pattern::kLanes) {
      const int at = pattern.offset + row * kColumns + column;
      add_dot(sum, *reinterpret_cast<const uint4*>(x + at),
              *reinterpret_cast<const uint4*>(y + at));
    }
#pragma unroll
    for (int lanes = 1; lanes < Pattern::kLanes; lanes *= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, lanes);
    }
    if (pattern.chunk == 0) dots[pattern.row + row] = sum;
  }
}

// Which of the rows that a thread fetches of a tile of queries see a key; see fetch_tile.
template <int kColumns, int kThreads>
__device__ __forceinline__ uint32_t queries_seeing(const AttentionShape& shape,
                                                   const AttentionItem& item, int first, int end) {
  if (!shape.valid_per_query) return ~uint32_t{0};
  using Pattern = FetchPattern<kColumns, kThreads>;
  const Pattern pattern;
  uint32_t seeing = 0;
  for (int i = 0; i < kTileRows / Pattern::kRowStep; ++i) {
    const int query = first + pattern.row + i * Pattern::kRowStep;
    seeing |= uint32_t{query < end && keys_of(shape, item, query) > 0} << i;
  }
  return seeing;
}

// Writes four results side by side to the 16 rows from `row` on and 32 columns from `column` on, in
// float32; nothing at and beyond `end`.
__device__ __forceinline__ void store_partials(const HeadRows<float>& rows, int row, int end,
                                               int column, const float (&results)[4][4], int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int target = row + lane / 4 + 8 * half;
    if (target >= end) continue;
    float* to = rows.data + target * rows.stride + column + 2 * (lane % 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      *reinterpret_cast<float2*>(to + 8 * i) =
          make_float2(results[i][2 * half], results[i][2 * half + 1]);
    }
  }
  __syncwarp();  // what follows may be an instruction of the whole warp
}

// Where block `block` of the keys of an item's head leaves its share of dq: [blocks, T, H, kDim].
template <int kDim, typename T>
__device__ __forceinline__ HeadRows<T> partial_rows(T* partials, const AttentionShape& shape,
                                                    const AttentionItem& item, int block) {
  const int64_t row = (block * shape.tokens + item.token) * shape.heads + item.head;
  return {partials + row * kDim, shape.heads * kDim};
}

// `delta` is given without kWithQuery; `partials` with it, unless a block has all keys of a head.
template <int kDim, int kWarps, int kStrips, bool kWithQuery>
__global__ void __launch_bounds__(kWarps* kWarp, kWarps == 4 && kStrips == 1 && kDim <= 64 ? 3 : 1)
    attention_backward_keys_kernel(BackwardParams params, const float* delta, float* partials,
                                   bool aligned, uint32_t blocks_per_head, uint32_t first_task) {
  using Block = KeyBlock<kDim, kWarps, kStrips, kWithQuery>;
  constexpr int kThreads = Block::kThreads, kKeys = Block::kKeys, kTile = Block::kTile;
  constexpr int kStages = Block::kStages;
  LEXFORGE_DYNAMIC_SHARED(Bfloat16, shared);
  Bfloat16* k_tile = shared;
  Bfloat16* v_tile = k_tile + kKeys * kDim;
  Bfloat16* q_tiles = v_tile + kKeys * kDim;
  Bfloat16* g_tiles = q_tiles + kStages * kTile;
  Bfloat16* out_tile = g_tiles + kStages * kTile;
  Bfloat16* e_tile = out_tile + (kWithQuery ? kTile : 0);  // E^T: a row of 64 queries for each key
  auto* stats = reinterpret_cast<QueryStats*>(e_tile + (kWithQuery ? kKeys * kTileRows : 0));

  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_task, kKeys);
  if (item.first >= item.length) return;
  const int dim = static_cast<int>(shape.dim), length = item.length;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4, t = lane % 4;
  const int seen_keys = keys_of_any(shape, item, 0, length);
  const int seeing = seen_keys > 0 ? length : 0;  // no query beyond sees a key
  const int warp_key = warp * 16 * kStrips, first_key = item.first + warp_key;

  const auto q = head_rows(params.q, shape, item), k = head_rows(params.k, shape, item);
  const auto v = head_rows(params.v, shape, item), grad = head_rows(params.grad_out, shape, item);
  const auto fetch = [&](int tile) {
    const int stage = tile % kStages, first = tile * kTileRows;
    const uint32_t wanted = queries_seeing<kDim, kThreads>(shape, item, first, seeing);
    const auto fetch_queries = [&](Bfloat16* to, const HeadRows<const Bfloat16>& rows) {
      fetch_tile<kDim, kTileRows, kThreads>(to, rows, first, seeing, dim, aligned, wanted);
    };
    fetch_queries(q_tiles + stage * kTile, q);
    fetch_queries(g_tiles + stage * kTile, grad);
    if constexpr (kWithQuery) fetch_queries(out_tile, head_rows(params.out, shape, item));
    for (int i = static_cast<int>(threadIdx.x); i < kTileRows; i += kThreads) {
      const bool there = first + i < length;
      const int64_t row = there ? (item.token + first + i) * shape.heads + item.head : 0;
      copy_async<4>(&stats[stage].lse[i], params.lse + row, there);
      if constexpr (!kWithQuery) copy_async<4>(&stats[stage].delta[i], delta + row, there);
      stats[stage].keys[i] = there ? keys_of(shape, item, first + i) : 0;
    }
  };
  fetch_tile<kDim, kKeys, kThreads>(k_tile, k, item.first, seen_keys, dim, aligned);
  fetch_tile<kDim, kKeys, kThreads>(v_tile, v, item.first, seen_keys, dim, aligned);
  const int first_tile = shape.causal ? item.first / kTileRows : 0;
  fetch(first_tile);
  commit_copies();

  const float scale = static_cast<float>(shape.scale), scale2 = scale * kLog2E;
  const float kept_scale = shape.dropout.scale;
  const bool dropping = shape.dropout.threshold != 0;
  const uint64_t seed = dropping ? *shape.dropout.seed : 0;
  const uint64_t position = dropout_rows(shape, item);
  float grad_k[kStrips][kDim / 8][4] = {}, grad_v[kStrips][kDim / 8][4] = {};

  // A block whose keys nobody sees has no share in dq; if it is the only one, it writes zeros.
  const int last = item.first < seen_keys || (kWithQuery && partials == nullptr) ? length : 0;
  for (int tile = first_tile; tile * kTileRows < last; ++tile) {
    const int stage = tile % kStages, tile_row = tile * kTileRows;
    wait_for_copies<0>();
    if constexpr (kWithQuery) {
      dots_of_fetched<kDim, kThreads>(stats[stage].delta, out_tile, g_tiles + stage * kTile);
    }
    if (kStages > 1 && (tile + 1) * kTileRows < last) fetch(tile + 1);
    commit_copies();
    __syncthreads();
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
        const int block_keys = min(tile_keys - item.first, kKeys);
#pragma unroll 1
        for (int group = warp / 4; group < kDim / 32; group += kWarps / 4) {
          float result[4][4] = {};
#pragma unroll 1
          for (int key = 0; key < block_keys; key += 16) {
            uint32_t a[4], b[4];
            load_a_transposed<kTileRows>(a, e_tile, key, row / 8, lane);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              load_b_transposed<kDim>(b, k_tile, key, 4 * group + 2 * i, lane);
              mma_bf16(result[2 * i], a, b[0], b[1]);
              mma_bf16(result[2 * i + 1], a, b[2], b[3]);
            }
          }
          if (partials != nullptr) {
            store_partials(partial_rows<kDim>(partials, shape, item, item.first / kKeys),
                           tile_row + row, length, 32 * group, result, lane);
          } else {
            store_results(head_rows(params.grad_q, shape, item), tile_row + row, length, 32 * group,
                          dim, aligned, result, scale, scale, lane);
          }
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

constexpr int kSumThreads = 256;

// dq: for each query, the sum of the shares of those blocks of keys that it sees, in their order. A
// thread has eight columns of a row at a time. Bound by the bandwidth of memory; five blocks, 1280
// threads, on a multiprocessor.
template <int kDim>
__global__ void __launch_bounds__(kSumThreads)
    attention_backward_sum_kernel(BackwardParams params, const float* partials, int block_keys,
                                  bool aligned, uint32_t blocks_per_head, uint32_t first_task) {
  constexpr int kChunks = kDim / 8;
  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_task, kTileRows);
  const int dim = static_cast<int>(shape.dim), end = min(item.first + kTileRows, item.length);
  const float scale = static_cast<float>(shape.scale);
  const auto from = partial_rows<kDim>(partials, shape, item, 0);
  const auto to = head_rows(params.grad_q, shape, item);
  const int64_t next_block = shape.tokens * from.stride;
  for (int index = static_cast<int>(threadIdx.x); index < kTileRows * kChunks;
       index += kSumThreads) {
    const int row = item.first + index / kChunks, column = index % kChunks * 8;
    if (row >= end || column >= dim) continue;
    const float* partial = from.data + row * from.stride + column;
    const int keys = keys_of(shape, item, row);
    float4 low = {}, high = {};
#pragma unroll 4
    for (int key = 0; key < keys; key += block_keys, partial += next_block) {
      low = sum_of(low, *reinterpret_cast<const float4*>(partial));
      high = sum_of(high, *reinterpret_cast<const float4*>(partial + 4));
    }
    const uint32_t words[4] = {
        pack_bf16(scale * low.x, scale * low.y), pack_bf16(scale * low.z, scale * low.w),
        pack_bf16(scale * high.x, scale * high.y), pack_bf16(scale * high.z, scale * high.w)};
    store_words(to.data + row * to.stride + column, words, dim - column, aligned);
  }
}

constexpr int kQueryStages = 2;
constexpr int kQueryWarps = 4, kQueryThreads = kQueryWarps * kWarp;

template <int kDim>
constexpr size_t query_bytes(int rows) {
  return sizeof(Bfloat16) * kDim * (2 * rows + 2 * kQueryStages * kTileRows);
}

// dq of sequences that no block holds whole: like the forward kernel, a warp has 16 kStrips queries
// and the keys and values come in tiles of 64, of which it takes 32 at a time.
template <int kDim, int kStrips>
__global__ void __launch_bounds__(kQueryThreads, 2)
    attention_backward_queries_kernel(BackwardParams params, const float* delta, bool aligned,
                                      uint32_t blocks_per_head, uint32_t first_task) {
  constexpr int kRows = 16 * kStrips * kQueryWarps, kTile = kTileRows * kDim;
  LEXFORGE_DYNAMIC_SHARED(Bfloat16, shared);
  Bfloat16* q_tile = shared;
  Bfloat16* g_tile = q_tile + kRows * kDim;
  Bfloat16* k_tiles = g_tile + kRows * kDim;
  Bfloat16* v_tiles = k_tiles + kQueryStages * kTile;
  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_task, kRows);
  if (item.first >= item.length) return;
  const int dim = static_cast<int>(shape.dim), end = min(item.first + kRows, item.length);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * 16 * kStrips;
  const int block_keys = keys_of_any(shape, item, item.first, end);

  const auto k = head_rows(params.k, shape, item), v = head_rows(params.v, shape, item);
  const auto fetch = [&](int tile) {
    const int at = tile % kQueryStages * kTile, first = tile * kTileRows;
    fetch_tile<kDim, kTileRows, kQueryThreads>(k_tiles + at, k, first, block_keys, dim, aligned);
    fetch_tile<kDim, kTileRows, kQueryThreads>(v_tiles + at, v, first, block_keys, dim, aligned);
  };
  fetch_tile<kDim, kRows, kQueryThreads>(q_tile, head_rows(params.q, shape, item), item.first, end,
                                         dim, aligned);
  fetch_tile<kDim, kRows, kQueryThreads>(g_tile, head_rows(params.grad_out, shape, item),
                                         item.first, end, dim, aligned);
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
    const Bfloat16* k_tile = k_tiles + tile % kQueryStages * kTile;
    const Bfloat16* v_tile = v_tiles + tile % kQueryStages * kTile;
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
void start_keys(const BackwardParams& params, const float* delta, float* partials, bool aligned,
                cudaStream_t stream) {
  using Block = KeyBlock<kDim, kWarps, kStrips, kWithQuery>;
  for_each_item(params.shape, Block::kKeys, [&](uint32_t grid, uint32_t per_head, uint32_t first) {
    launch(attention_backward_keys_kernel<kDim, kWarps, kStrips, kWithQuery>, grid, Block::kThreads,
           Block::kBytes, stream, params, delta, partials, aligned, per_head, first);
  });
}

template <int kDim, int kWarps, int kStrips>
void start_whole(const BackwardParams& params, bool aligned, cudaStream_t stream) {
  start_keys<kDim, kWarps, kStrips, true>(params, nullptr, nullptr, aligned, stream);
}

// The widest block of keys whose gradients fit into registers.
template <int kDim>
struct WidestBlock {
  static constexpr int kWarps = 8, kStrips = kDim <= 64 ? 2 : 1;
  static constexpr int kKeys = 16 * kStrips * kWarps;
};

template <int kDim>
void start_partials(const BackwardParams& params, float* partials, bool aligned,
                    cudaStream_t stream) {
  using Block = WidestBlock<kDim>;
  start_keys<kDim, Block::kWarps, Block::kStrips, true>(params, nullptr, partials, aligned, stream);
  for_each_item(params.shape, kTileRows, [&](uint32_t grid, uint32_t per_head, uint32_t first) {
    launch(attention_backward_sum_kernel<kDim>, grid, kSumThreads, 0, stream, params, partials,
           Block::kKeys, aligned, per_head, first);
  });
}

template <int kDim, int kStrips>
void start_queries(const BackwardParams& params, const float* delta, bool aligned,
                   cudaStream_t stream) {
  constexpr int kRows = 16 * kStrips * kQueryWarps;
  for_each_item(params.shape, kRows, [&](uint32_t grid, uint32_t per_head, uint32_t first) {
    launch(attention_backward_queries_kernel<kDim, kStrips>, grid, kQueryThreads,
           query_bytes<kDim>(kRows), stream, params, delta, aligned, per_head, first);
  });
}

}  // namespace

int64_t attention_partials(const AttentionShape& shape) {
  int64_t partials = 0;
  with_columns(shape.dim, [&](auto columns) {
    constexpr int kKeys = WidestBlock<columns>::kKeys;
    if (shape.max_length <= kKeys || shape.max_length > kMaxPartialsLength) return;
    const int64_t blocks = (shape.max_length + kKeys - 1) / kKeys;
    partials = blocks * shape.tokens * shape.heads * columns;
  });
  return partials;
}

void launch_attention_backward_mma(const BackwardParams& params, float* scratch, bool aligned,
                                   void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const int64_t length = params.shape.max_length;
  with_columns(params.shape.dim, [&](auto columns) {
    constexpr int kDim = columns;
    using Widest = WidestBlock<kDim>;
    if (length <= 64) return start_whole<kDim, 4, 1>(params, aligned, on);
    if constexpr (kDim <= 64) {
      if (length <= 128) return start_whole<kDim, 4, 2>(params, aligned, on);
    }
    if (length <= Widest::kKeys) {
      return start_whole<kDim, Widest::kWarps, Widest::kStrips>(params, aligned, on);
    }
    if (length <= kMaxPartialsLength) return start_partials<kDim>(params, scratch, aligned, on);
    start_keys<kDim, kDim <= 64 ? 4 : 8, Widest::kStrips, false>(params, scratch, nullptr, aligned,
                                                                 on);
    start_queries<kDim, Widest::kStrips>(params, scratch, aligned, on);
  });
}

}  // namespace lexforge
