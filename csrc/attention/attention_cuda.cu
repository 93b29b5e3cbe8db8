#include "attention/attention_cuda.cuh"
#include "common/tensor_core.cuh"

namespace lexforge {
namespace {

// ---- tiles in shared memory, a square of threads over each product -----------------------------

constexpr int kSide = 16, kThreads = kSide * kSide;

template <typename scalar_t>
__device__ __forceinline__ scalar_t to_compute(scalar_t value) {
  return value;
}
__device__ __forceinline__ float to_compute(Bfloat16 value) { return to_float(value); }

template <typename scalar_t, typename stat_t>
__device__ __forceinline__ scalar_t to_storage(stat_t value) {
  if constexpr (std::is_same_v<scalar_t, Bfloat16>) {
    return to_bf16(value);
  } else {
    return value;
  }
}

template <typename T>
struct alignas(16) Vector {
  static constexpr int kSize = 16 / sizeof(T);
  T at[kSize];
};

// Padded by one vector: the rows of eight threads begin in different banks.
template <typename T, int kColumns>
constexpr int kStrideOf = kColumns + Vector<T>::kSize;

// Rows first ... first + kRows - 1 of a head; zeros where !wanted(row) and beyond `dim`.
template <int kRows, int kColumns, typename scalar_t, typename stat_t, typename Wanted>
__device__ __forceinline__ void fetch(stat_t* tile, const HeadRows<const scalar_t>& rows, int first,
                                      int dim, const Wanted& wanted) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kColumns; i += kThreads) {
    const int row = i / kColumns, column = i % kColumns;
    const bool there = column < dim && wanted(first + row);
    tile[row * kStrideOf<stat_t, kColumns> + column] =
        there ? to_compute(rows.data[(first + row) * rows.stride + column]) : stat_t(0);
  }
}

// result[a][c] += dot(x row y + 16 a, z row x + 16 c) for thread (y, x).
template <int kColumns, int kPer, typename T>
__device__ __forceinline__ void add_dots(T (&result)[kPer][kPer], const T* left, const T* right) {
  constexpr int kStride = kStrideOf<T, kColumns>;
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
#pragma unroll 4
  for (int d = 0; d < kColumns; d += Vector<T>::kSize) {
    Vector<T> l[kPer], r[kPer];
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      l[i] = *reinterpret_cast<const Vector<T>*>(left + (y + kSide * i) * kStride + d);
      r[i] = *reinterpret_cast<const Vector<T>*>(right + (x + kSide * i) * kStride + d);
    }
#pragma unroll
    for (int a = 0; a < kPer; ++a) {
#pragma unroll
      for (int c = 0; c < kPer; ++c) {
#pragma unroll
        for (int e = 0; e < Vector<T>::kSize; ++e) result[a][c] += l[a].at[e] * r[c].at[e];
      }
    }
  }
}

// result[a][c] += row y + 16 a of weights [tile, tile] times vector x + 16 c of a tile's columns.
template <int kColumns, int kPer, typename T, int kVectors>
__device__ __forceinline__ void add_products(Vector<T> (&result)[kPer][kVectors], const T* weights,
                                             const T* values) {
  constexpr int kTile = kSide * kPer;
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
#pragma unroll 2
  for (int k = 0; k < kTile; k += Vector<T>::kSize) {
    Vector<T> w[kPer];
#pragma unroll
    for (int a = 0; a < kPer; ++a) {
      w[a] =
          *reinterpret_cast<const Vector<T>*>(weights + (y + kSide * a) * kStrideOf<T, kTile> + k);
    }
#pragma unroll
    for (int e = 0; e < Vector<T>::kSize; ++e) {
#pragma unroll
      for (int c = 0; c < kVectors; ++c) {
        const auto v = *reinterpret_cast<const Vector<T>*>(
            values + (k + e) * kStrideOf<T, kColumns> + (x + kSide * c) * Vector<T>::kSize);
#pragma unroll
        for (int a = 0; a < kPer; ++a) {
#pragma unroll
          for (int i = 0; i < Vector<T>::kSize; ++i) result[a][c].at[i] += w[a].at[e] * v.at[i];
        }
      }
    }
  }
}

template <int kPer, typename T>
__device__ __forceinline__ void put_weight(T* weights, int a, int c, T value) {
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
  weights[(y + kSide * a) * kStrideOf<T, kSide * kPer> + x + kSide * c] = value;
}

// Row y + 16 a of the results, times factor(a), to row first + y + 16 a of a head.
template <int kPer, typename scalar_t, typename T, int kVectors, typename Factor>
__device__ __forceinline__ void store(const HeadRows<scalar_t>& rows, int first, int end, int dim,
                                      const Vector<T> (&result)[kPer][kVectors],
                                      const Factor& factor) {
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
#pragma unroll
  for (int a = 0; a < kPer; ++a) {
    const int row = first + y + kSide * a;
    if (row >= end) continue;
    const T scale = factor(a);
#pragma unroll
    for (int c = 0; c < kVectors; ++c) {
#pragma unroll
      for (int i = 0; i < Vector<T>::kSize; ++i) {
        const int column = (x + kSide * c) * Vector<T>::kSize + i;
        if (column < dim) {
          rows.data[row * rows.stride + column] = to_storage<scalar_t>(scale * result[a][c].at[i]);
        }
      }
    }
  }
}

// What dropout multiplies the entries of keys key, key + 16, ... of one row by. A tile begins at a
// multiple of 32 if it holds as many keys, so two neighbours share a quad.
template <int kPer, typename T>
__device__ __forceinline__ void keep_factors(T (&kept)[kPer], const Dropout& dropout, uint64_t seed,
                                             uint64_t row, int key) {
  PhiloxQuad quad{};
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int j = key + kSide * i, index = j % 32 / 8;
    if (i % 2 == 0) {
      quad = philox_at(seed, 0, row, RandomStream::kAttention,
                       static_cast<uint32_t>(4 * (j / 32) + j % 8 / 2));
    }
    const uint32_t even = index < 2 ? quad.word[0] : quad.word[2];
    const uint32_t odd = index < 2 ? quad.word[1] : quad.word[3];
    const uint32_t word = index % 2 == 0 ? even : odd;
    kept[i] = (j % 2 == 0 ? word & 0xFFFFu : word >> 16) < dropout.threshold
                  ? T(0)
                  : static_cast<T>(dropout.scale);
  }
}

// ---- kernels -----------------------------------------------------------------------------------

// The three kernels below: a block of 16 x 16 threads has a tile of 16 kPer rows of one head and
// goes through the tiles of the other side, in shared memory; a thread has kPer x kPer entries of
// a tile of scores and kPer rows of its results. Bound by reads of shared memory, about 12 cycles
// for every 16 of multiplications at kPer = 4.
template <typename stat_t, int kPer, int kColumns>
struct FmaTile {
  static constexpr int kRows = kSide * kPer, kVectors = kColumns / kSide / Vector<stat_t>::kSize;
  static constexpr int kTile = kRows * kStrideOf<stat_t, kColumns>;
  static constexpr int kWeights = kRows * kStrideOf<stat_t, kRows>;
  static constexpr size_t bytes(int tiles, int weights) {
    return sizeof(stat_t) * static_cast<size_t>(tiles * kTile + weights * kWeights);
  }
};

// The maximum, or the sum, over the sixteen threads of a row.
template <typename T, typename Combine>
__device__ __forceinline__ T over_row(T value, const Combine& combine) {
#pragma unroll
  for (int step = 1; step < kSide; step *= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, step));
  }
  return value;
}

template <typename scalar_t, typename stat_t, int kPer, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
    attention_forward_kernel(AttentionParams<scalar_t, stat_t> params, uint32_t blocks_per_head,
                             uint32_t first_task) {
  using Tile = FmaTile<stat_t, kPer, kColumns>;
  LEXFORGE_DYNAMIC_SHARED(stat_t, shared);
  stat_t* q_tile = shared;
  stat_t* kv_tile = q_tile + Tile::kTile;
  stat_t* weights = kv_tile + Tile::kTile;
  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_task, Tile::kRows);
  if (item.first >= item.length) return;
  const int dim = static_cast<int>(shape.dim), end = min(item.first + Tile::kRows, item.length);
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
  const auto k = head_rows(params.k, shape, item), v = head_rows(params.v, shape, item);
  const int block_keys = keys_of_any(shape, item, item.first, end);
  const auto seen = [&](int key) { return key < block_keys; };
  fetch<Tile::kRows, kColumns>(q_tile, head_rows(params.q, shape, item), item.first, dim,
                               [&](int row) { return row < end; });

  const auto scale = static_cast<stat_t>(shape.scale);
  const uint64_t seed = shape.dropout.threshold != 0 ? *shape.dropout.seed : 0;
  const uint64_t position = dropout_rows(shape, item) + item.first + y;
  Vector<stat_t> out[kPer][Tile::kVectors] = {};
  stat_t top[kPer], sum[kPer] = {};
  int keys[kPer];
#pragma unroll
  for (int a = 0; a < kPer; ++a) {
    const int row = item.first + y + kSide * a;
    keys[a] = row < end ? keys_of(shape, item, row) : 0;
    top[a] = -INFINITY;
  }

  for (int first_key = 0; first_key < block_keys; first_key += Tile::kRows) {
    __syncthreads();
    fetch<Tile::kRows, kColumns>(kv_tile, k, first_key, dim, seen);
    __syncthreads();
    stat_t scores[kPer][kPer] = {};
    add_dots<kColumns>(scores, q_tile, kv_tile);
#pragma unroll
    for (int a = 0; a < kPer; ++a) {
      stat_t highest = top[a];
#pragma unroll
      for (int c = 0; c < kPer; ++c) {
        if (first_key + x + kSide * c >= keys[a]) scores[a][c] = -INFINITY;
        highest = scores[a][c] > highest ? scores[a][c] : highest;
      }
      highest = over_row(highest, [](stat_t p, stat_t q) { return p > q ? p : q; });
      const stat_t base = highest == -INFINITY ? stat_t(0) : highest;
      const stat_t rescale = exp((top[a] - base) * scale);
      top[a] = highest;
      sum[a] *= rescale;
#pragma unroll
      for (int c = 0; c < Tile::kVectors; ++c) {
#pragma unroll
        for (int i = 0; i < Vector<stat_t>::kSize; ++i) out[a][c].at[i] *= rescale;
      }
      stat_t kept[kPer];
      if (shape.dropout.threshold != 0) {
        keep_factors(kept, shape.dropout, seed, position + kSide * a, first_key + x);
      }
#pragma unroll
      for (int c = 0; c < kPer; ++c) {
        const stat_t p = exp((scores[a][c] - base) * scale);
        sum[a] += p;
        put_weight<kPer>(weights, a, c, shape.dropout.threshold != 0 ? p * kept[c] : p);
      }
    }
    __syncthreads();
    fetch<Tile::kRows, kColumns>(kv_tile, v, first_key, dim, seen);
    __syncthreads();
    add_products<kColumns>(out, weights, kv_tile);
  }

#pragma unroll
  for (int a = 0; a < kPer; ++a) {
    sum[a] = over_row(sum[a], [](stat_t p, stat_t q) { return p + q; });
    const int row = item.first + y + kSide * a;
    if (row < end && x == 0) {
      params.lse[(item.token + row) * shape.heads + item.head] =
          sum[a] == 0 ? stat_t(-INFINITY) : top[a] * scale + log(sum[a]);
    }
  }
  store(head_rows(params.out, shape, item), item.first, end, dim, out,
        [&](int a) { return sum[a] == 0 ? stat_t(0) : 1 / sum[a]; });
}

// Rows of a block are keys, columns queries.
template <typename scalar_t, typename stat_t, int kPer, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
    attention_grad_keys_kernel(AttentionBackwardParams<scalar_t, stat_t> params,
                               const stat_t* delta, uint32_t blocks_per_head, uint32_t first_task) {
  using Tile = FmaTile<stat_t, kPer, kColumns>;
  LEXFORGE_DYNAMIC_SHARED(stat_t, shared);
  stat_t* k_tile = shared;
  stat_t* v_tile = k_tile + Tile::kTile;
  stat_t* q_tile = v_tile + Tile::kTile;
  stat_t* g_tile = q_tile + Tile::kTile;
  stat_t* p_tile = g_tile + Tile::kTile;
  stat_t* e_tile = p_tile + Tile::kWeights;
  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_task, Tile::kRows);
  if (item.first >= item.length) return;
  const int dim = static_cast<int>(shape.dim), length = item.length;
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
  const int seen_keys = keys_of_any(shape, item, 0, length);
  const auto seen = [&](int key) { return key < seen_keys; };
  const auto seeing = [&](int i) { return i < length && keys_of(shape, item, i) > 0; };
  const auto q = head_rows(params.q, shape, item), grad = head_rows(params.grad_out, shape, item);
  fetch<Tile::kRows, kColumns>(k_tile, head_rows(params.k, shape, item), item.first, dim, seen);
  fetch<Tile::kRows, kColumns>(v_tile, head_rows(params.v, shape, item), item.first, dim, seen);

  const auto scale = static_cast<stat_t>(shape.scale);
  const uint64_t seed = shape.dropout.threshold != 0 ? *shape.dropout.seed : 0;
  const uint64_t position = dropout_rows(shape, item);
  Vector<stat_t> grad_k[kPer][Tile::kVectors] = {}, grad_v[kPer][Tile::kVectors] = {};
  const int first_row = shape.causal ? item.first : 0;
  for (int row = first_row; row < length && item.first < seen_keys; row += Tile::kRows) {
    __syncthreads();
    fetch<Tile::kRows, kColumns>(q_tile, q, row, dim, seeing);
    fetch<Tile::kRows, kColumns>(g_tile, grad, row, dim, seeing);
    __syncthreads();
    stat_t scores[kPer][kPer] = {}, errors[kPer][kPer] = {};
    add_dots<kColumns>(scores, k_tile, q_tile);
    add_dots<kColumns>(errors, v_tile, g_tile);
#pragma unroll
    for (int c = 0; c < kPer; ++c) {
      const int query = row + x + kSide * c;
      const int64_t at = query < length ? (item.token + query) * shape.heads + item.head : 0;
      const int keys = query < length ? keys_of(shape, item, query) : 0;
      const stat_t lse = params.lse[at], d = delta[at];
      stat_t kept[kPer];
      if (shape.dropout.threshold != 0) {
        keep_factors(kept, shape.dropout, seed, position + query, item.first + y);
      }
#pragma unroll
      for (int a = 0; a < kPer; ++a) {
        const bool visible = item.first + y + kSide * a < keys;
        const stat_t z = shape.dropout.threshold != 0 ? kept[a] : stat_t(1);
        const stat_t p = visible ? exp(scores[a][c] * scale - lse) : stat_t(0);
        put_weight<kPer>(p_tile, a, c, z * p);
        put_weight<kPer>(e_tile, a, c, visible ? p * (z * errors[a][c] - d) : stat_t(0));
      }
    }
    __syncthreads();
    add_products<kColumns>(grad_v, p_tile, g_tile);
    add_products<kColumns>(grad_k, e_tile, q_tile);
  }
  store(head_rows(params.grad_k, shape, item), item.first, length, dim, grad_k,
        [&](int) { return scale; });
  store(head_rows(params.grad_v, shape, item), item.first, length, dim, grad_v,
        [&](int) { return stat_t(1); });
}

template <typename scalar_t, typename stat_t, int kPer, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
    attention_grad_queries_kernel(AttentionBackwardParams<scalar_t, stat_t> params,
                                  const stat_t* delta, uint32_t blocks_per_head,
                                  uint32_t first_task) {
  using Tile = FmaTile<stat_t, kPer, kColumns>;
  LEXFORGE_DYNAMIC_SHARED(stat_t, shared);
  stat_t* q_tile = shared;
  stat_t* g_tile = q_tile + Tile::kTile;
  stat_t* k_tile = g_tile + Tile::kTile;
  stat_t* v_tile = k_tile + Tile::kTile;
  stat_t* e_tile = v_tile + Tile::kTile;
  const AttentionShape& shape = params.shape;
  const AttentionItem item = attention_item(shape, blocks_per_head, first_task, Tile::kRows);
  if (item.first >= item.length) return;
  const int dim = static_cast<int>(shape.dim), end = min(item.first + Tile::kRows, item.length);
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
  const int block_keys = keys_of_any(shape, item, item.first, end);
  const auto seen = [&](int key) { return key < block_keys; };
  const auto there = [&](int row) { return row < end; };
  const auto k = head_rows(params.k, shape, item), v = head_rows(params.v, shape, item);
  fetch<Tile::kRows, kColumns>(q_tile, head_rows(params.q, shape, item), item.first, dim, there);
  fetch<Tile::kRows, kColumns>(g_tile, head_rows(params.grad_out, shape, item), item.first, dim,
                               there);

  const auto scale = static_cast<stat_t>(shape.scale);
  const uint64_t seed = shape.dropout.threshold != 0 ? *shape.dropout.seed : 0;
  const uint64_t position = dropout_rows(shape, item) + item.first + y;
  Vector<stat_t> grad_q[kPer][Tile::kVectors] = {};
  for (int first_key = 0; first_key < block_keys; first_key += Tile::kRows) {
    __syncthreads();
    fetch<Tile::kRows, kColumns>(k_tile, k, first_key, dim, seen);
    fetch<Tile::kRows, kColumns>(v_tile, v, first_key, dim, seen);
    __syncthreads();
    stat_t scores[kPer][kPer] = {}, errors[kPer][kPer] = {};
    add_dots<kColumns>(scores, q_tile, k_tile);
    add_dots<kColumns>(errors, g_tile, v_tile);
#pragma unroll
    for (int a = 0; a < kPer; ++a) {
      const int row = item.first + y + kSide * a;
      const int64_t at = row < end ? (item.token + row) * shape.heads + item.head : 0;
      const int keys = row < end ? keys_of(shape, item, row) : 0;
      const stat_t lse = params.lse[at], d = delta[at];
      stat_t kept[kPer];
      if (shape.dropout.threshold != 0) {
        keep_factors(kept, shape.dropout, seed, position + kSide * a, first_key + x);
      }
#pragma unroll
      for (int c = 0; c < kPer; ++c) {
        const bool visible = first_key + x + kSide * c < keys;
        const stat_t z = shape.dropout.threshold != 0 ? kept[c] : stat_t(1);
        const stat_t p = visible ? exp(scores[a][c] * scale - lse) : stat_t(0);
        put_weight<kPer>(e_tile, a, c, visible ? p * (z * errors[a][c] - d) : stat_t(0));
      }
    }
    __syncthreads();
    add_products<kColumns>(grad_q, e_tile, k_tile);
  }
  store(head_rows(params.grad_q, shape, item), item.first, end, dim, grad_q,
        [&](int) { return scale; });
}

// A warp has one token, eight lanes a head of it at a time: 16 bytes each where rows are aligned.
constexpr int kHeadLanes = 8;

template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kThreads)
    attention_delta_kernel(AttentionBackwardParams<scalar_t, stat_t> params, stat_t* delta,
                           bool aligned) {
  constexpr int kChunk = 16 / sizeof(scalar_t);
  struct alignas(16) Chunk {
    scalar_t at[kChunk];
  };
  const AttentionShape& shape = params.shape;
  const int64_t token = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
  if (token >= shape.tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % kHeadLanes;
  const auto row_of = [&](const AttentionRows<const scalar_t>& rows) {
    if (shape.cu_seqlens != nullptr) return rows.data + token * rows.token_stride;
    return rows.data + token / shape.max_length * rows.sequence_stride +
           token % shape.max_length * rows.token_stride;
  };
  const scalar_t *out_row = row_of(params.out), *grad_row = row_of(params.grad_out);
  for (int64_t first = 0; first < shape.heads; first += kWarp / kHeadLanes) {
    const int64_t head = first + threadIdx.x % kWarp / kHeadLanes;
    const bool there = head < shape.heads;
    const scalar_t* out = out_row + (there ? head * params.out.head_stride : 0);
    const scalar_t* grad = grad_row + (there ? head * params.grad_out.head_stride : 0);
    stat_t sum = 0;
    if (aligned) {
      for (int64_t d = lane * kChunk; d < shape.dim; d += kHeadLanes * kChunk) {
        const Chunk o = *reinterpret_cast<const Chunk*>(out + d);
        const Chunk g = *reinterpret_cast<const Chunk*>(grad + d);
#pragma unroll
        for (int i = 0; i < kChunk; ++i) sum += to_compute(o.at[i]) * to_compute(g.at[i]);
      }
    } else {
      for (int64_t d = lane; d < shape.dim; d += kHeadLanes) {
        sum += to_compute(out[d]) * to_compute(grad[d]);
      }
    }
#pragma unroll
    for (int step = 1; step < kHeadLanes; step *= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, step);
    }
    if (there && lane == 0) delta[token * shape.heads + head] = sum;
  }
}

// ---- launchers ---------------------------------------------------------------------------------

template <typename scalar_t>
constexpr bool kHasMma = std::is_same_v<scalar_t, Bfloat16>;

// Tile sizes that three resident tiles and more fit into the shared memory of sm_80.
template <typename scalar_t, typename F>
void with_tile(int64_t dim, const F& f) {
  using std::integral_constant;
  constexpr int kLargest = sizeof(scalar_t) == 8 ? 2 : 4;
  // bfloat16 comes here above kMaxMmaDim only.
  if constexpr (!kHasMma<scalar_t>) {
    if (dim <= 64) return f(integral_constant<int, kLargest>(), integral_constant<int, 64>());
  }
  if constexpr (std::is_same_v<scalar_t, float>) {
    if (dim <= 128) return f(integral_constant<int, 2>(), integral_constant<int, 128>());
  }
  f(integral_constant<int, kLargest / 2>(), integral_constant<int, 256>());
}

// The kernels on tensor cores find it themselves up to kMaxPartialsLength.
template <typename scalar_t>
bool needs_delta(const AttentionShape& shape) {
  return !kHasMma<scalar_t> || shape.dim > kMaxMmaDim || shape.max_length > kMaxPartialsLength;
}

template <typename scalar_t>
bool is_aligned(const AttentionRows<scalar_t>& rows) {
  constexpr int64_t kElements = 16 / sizeof(scalar_t);
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.token_stride % kElements == 0 &&
         rows.head_stride % kElements == 0 && rows.sequence_stride % kElements == 0;
}

}  // namespace

template <typename scalar_t, typename stat_t>
void launch_attention(const AttentionParams<scalar_t, stat_t>& params, void* stream) {
  const AttentionShape& shape = params.shape;
  if constexpr (kHasMma<scalar_t>) {
    if (shape.dim <= kMaxMmaDim) {
      const bool aligned = shape.dim % 8 == 0 && is_aligned(params.q) && is_aligned(params.k) &&
                           is_aligned(params.v) && is_aligned(params.out);
      return launch_attention_mma(params, aligned, stream);
    }
  }
  with_tile<scalar_t>(shape.dim, [&](auto per, auto columns) {
    using Tile = FmaTile<stat_t, per, columns>;
    for_each_item(shape, Tile::kRows, [&](uint32_t grid, uint32_t per_head, uint32_t first) {
      launch(attention_forward_kernel<scalar_t, stat_t, per, columns>, grid, kThreads,
             Tile::bytes(2, 1), static_cast<cudaStream_t>(stream), params, per_head, first);
    });
  });
}

template <typename scalar_t>
int64_t attention_backward_scratch(const AttentionShape& shape) {
  if (needs_delta<scalar_t>(shape)) return shape.tokens * shape.heads;
  return attention_partials(shape);
}

template <typename scalar_t, typename stat_t>
void launch_attention_backward(const AttentionBackwardParams<scalar_t, stat_t>& params,
                               stat_t* scratch, void* stream) {
  const AttentionShape& shape = params.shape;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (shape.tokens == 0 || shape.heads == 0) return;
  const bool read_aligned = shape.dim * sizeof(scalar_t) % 16 == 0 && is_aligned(params.out) &&
                            is_aligned(params.grad_out);
  if (needs_delta<scalar_t>(shape)) {
    launch(attention_delta_kernel<scalar_t, stat_t>, blocks_for(shape.tokens * kWarp, kThreads),
           kThreads, 0, cuda_stream, params, scratch, read_aligned);
  }
  if constexpr (kHasMma<scalar_t>) {
    if (shape.dim <= kMaxMmaDim) {
      const bool aligned = read_aligned && is_aligned(params.q) && is_aligned(params.k) &&
                           is_aligned(params.v) && is_aligned(params.grad_q) &&
                           is_aligned(params.grad_k) && is_aligned(params.grad_v);
      return launch_attention_backward_mma(params, scratch, aligned, stream);
    }
  }
  const stat_t* delta = scratch;
  with_tile<scalar_t>(shape.dim, [&](auto per, auto columns) {
    using Tile = FmaTile<stat_t, per, columns>;
    for_each_item(shape, Tile::kRows, [&](uint32_t grid, uint32_t per_head, uint32_t first) {
      launch(attention_grad_keys_kernel<scalar_t, stat_t, per, columns>, grid, kThreads,
             Tile::bytes(4, 2), cuda_stream, params, delta, per_head, first);
      launch(attention_grad_queries_kernel<scalar_t, stat_t, per, columns>, grid, kThreads,
             Tile::bytes(4, 1), cuda_stream, params, delta, per_head, first);
    });
  });
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                              \
  template void launch_attention(const AttentionParams<scalar_t, stat_t>&, void*);          \
  template int64_t attention_backward_scratch<scalar_t>(const AttentionShape&);             \
  template void launch_attention_backward(const AttentionBackwardParams<scalar_t, stat_t>&, \
                                          stat_t*, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
