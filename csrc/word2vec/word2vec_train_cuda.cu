// Streaming skip-gram on CUDA (contract: word2vec_train.h and word2vec_train_cuda.h).
//
// A warp trains a sentence, taken in turn from a counter, in order. A kept token's window is given
// to one of two kernels:
//   pair    noise words of each context. A context's row and its K noise rows are read together;
//           the centre's row, a target of every context, and its change stay in registers.
//   shared  one set of noise words. The targets and their changes stay in registers, the contexts
//           stream past them: a window of c contexts moves c + 1 + K rows instead of c (1 + K).
// Rows are read through the second-level cache and changed there by 16-byte atomic additions.
//
// At 100 dimensions (28 lanes work) a window of 6 contexts and K = 5 reads and adds to 37 rows with
// noise per pair and 12 with shared noise: 17 and 5 KB each way between a multiprocessor and the
// cache (computed). That is expected to be the limit with noise per pair, and the number of
// instructions with shared noise (benchmarks/NOTES.md).
#include <algorithm>

#include "common/cuda_launch.cuh"
#include "common/warp.cuh"
#include "word2vec/word2vec_train_cuda.h"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kWarpsPerBlock = 4;

// Blocks of a multiprocessor, as the registers allow (ptxas -v, sm_90). A thread has, for 1, 2, 3,
// 4 and 8 packs, 113, 159, 196, 233 and 245 with noise per pair; 114, 165, 230, 220 and 247 with
// shared noise in tiles of 6, 6, 6, 4 and 2 rows, and for 1 and 2 packs 127 and 214 in tiles
// of 8.
template <int kPacks, int kRows>
constexpr int kBlocks = kPacks == 1                 ? 4
                        : kPacks == 2 && kRows <= 6 ? 3
                                                    : 2;

// A token that survived sub-sampling, in the warp's ring.
struct alignas(16) KeptToken {
  int32_t token;
  int32_t window;
  int64_t position;
};

// A row of a table and a number that goes with it, in one of the warp's lists.
struct alignas(8) Entry {
  int32_t row;  // -1: none, or a noise word that is left out
  float value;
};

// A table row across a warp: lane l holds floats 4 l .. 4 l + 3 of every 128.
template <int kPacks>
struct Row {
  float4 pack[kPacks];
};

__device__ __forceinline__ float4 fma4(float a, float4 x, float4 y) {
  return make_float4(fmaf(a, x.x, y.x), fmaf(a, x.y, y.y), fmaf(a, x.z, y.z), fmaf(a, x.w, y.w));
}

__device__ __forceinline__ float4 scaled(float a, float4 x) {
  return make_float4(a * x.x, a * x.y, a * x.z, a * x.w);
}

template <int kPacks>
__device__ __forceinline__ float dot_part(const Row<kPacks>& a, const Row<kPacks>& b) {
  float sum = 0.0f;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    sum = fmaf(a.pack[p].x, b.pack[p].x, sum);
    sum = fmaf(a.pack[p].y, b.pack[p].y, sum);
    sum = fmaf(a.pack[p].z, b.pack[p].z, sum);
    sum = fmaf(a.pack[p].w, b.pack[p].w, sum);
  }
  return sum;
}

// sum += scale * row.
template <int kPacks>
__device__ __forceinline__ void accumulate(Row<kPacks>& sum, float scale, const Row<kPacks>& row) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) sum.pack[p] = fma4(scale, row.pack[p], sum.pack[p]);
}

template <int kPacks>
__device__ __forceinline__ void zero_row(Row<kPacks>& row) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) row.pack[p] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// A table as one lane sees it, in units of four floats: a table has fewer than 2^32 of those.
template <int kPacks>
struct Table {
  float4* start;
  uint32_t stride;
  int lane;

  __device__ Table(float* table, uint32_t row_stride, int lane)
      : start(reinterpret_cast<float4*>(table)), stride(row_stride), lane(lane) {}

  // Rows are longer than what the next smaller number of packs holds.
  __device__ bool used(int pack) const {
    return pack < (kPacks <= 4 ? kPacks - 1 : kPacks / 2) || column(pack) < stride;
  }
  __device__ uint32_t column(int pack) const { return static_cast<uint32_t>(lane + pack * kWarp); }

  // Zeros past the row's end, and for row -1.
  __device__ __forceinline__ void load(Row<kPacks>& into, int32_t row) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) into.pack[p] = load_live4(at(row, p), row >= 0 && used(p));
  }

  // row += addend, nothing for row -1.
  __device__ __forceinline__ void add(int32_t row, const Row<kPacks>& addend) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      if (row >= 0 && used(p)) atomic_add4(at(row, p), addend.pack[p]);
    }
  }

  // rows[r] += scale[r] * v. Mostly all rows are there, and one branch does for all of them.
  template <int kRows>
  __device__ __forceinline__ void add_scaled(const int32_t (&row)[kRows],
                                             const float (&scale)[kRows],
                                             const Row<kPacks>& v) const {
    bool all = true;
#pragma unroll
    for (int r = 0; r < kRows; ++r) all &= row[r] >= 0;
    if (all) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        if (!used(p)) continue;
#pragma unroll
        for (int r = 0; r < kRows; ++r) atomic_add4(at(row[r], p), scaled(scale[r], v.pack[p]));
      }
    } else {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int p = 0; p < kPacks; ++p) {
          if (row[r] >= 0 && used(p)) atomic_add4(at(row[r], p), scaled(scale[r], v.pack[p]));
        }
      }
    }
  }

  __device__ float4* at(int32_t row, int pack) const {
    return start + (static_cast<uint32_t>(row) * stride + column(pack));
  }
};

// label - sigmoid(x), and adds weight times the loss. The sigmoid is within a few units of the last
// place for logits around zero; __expf loses some 25 of them at 20, where it no longer matters. The
// logarithm of [1, 2], which goes into the loss alone, is within 2^-21.4 = 3.6e-7.
__device__ __forceinline__ float logistic(float x, bool positive, float weight, float& loss) {
  const float e = __expf(-fabsf(x));
  const float sigmoid = __fdividef(x < 0.0f ? e : 1.0f, 1.0f + e);
  loss += weight * (__logf(1.0f + e) - fminf(positive ? x : -x, 0.0f));
  return (positive ? 1.0f : 0.0f) - sigmoid;
}

// ---- sentences ----------------------------------------------------------------------------------

// Reads a sentence 32 tokens at a time and keeps the survivors of sub-sampling in a ring that is
// just large enough for a window and one more reading, whatever the sentence's length.
struct Reader {
  const Word2vecTrainParams<float>& params;
  KeptToken* ring;
  int32_t ring_mask;
  int lane;
  int64_t position = 0, end = 0;  // of the part still to be read
  int64_t kept = 0;               // survivors so far
  bool valid = true;

  __device__ void start(int64_t first, int64_t last) {
    position = first;
    end = last;
    kept = 0;
    __syncwarp();  // the ring's last readers are done
  }

  // Reads on until survivor `rank` is known to exist or not to.
  __device__ void read_up_to(int64_t rank) {
    while (kept <= rank && position < end) {
      const int64_t mine = position + lane;
      int32_t token = 0;
      bool keep = false, bad = false;
      if (mine < end) {
        token = params.tokens[mine];
        bad = token < 0 || token >= params.vocab_size;
        keep = !bad && word2vec_keep(params.seed, params.epoch, mine, params.keep[token]);
      }
      if (__any_sync(kAllLanes, bad)) {
        valid = false;
        end = position;
        return;
      }
      const unsigned survivors = __ballot_sync(kAllLanes, keep);
      if (keep) {
        const int window = params.dynamic_window
                               ? word2vec_window(params.seed, params.epoch, mine, params.window)
                               : params.window;
        ring[slot(kept + __popc(survivors & ((1u << lane) - 1)))] = {token, window, mine};
      }
      kept += __popc(survivors);
      position += kWarp;
    }
    __syncwarp();
  }

  __device__ KeptToken at(int64_t rank) const { return ring[slot(rank)]; }
  __device__ int32_t slot(int64_t rank) const { return static_cast<int32_t>(rank) & ring_mask; }
};

// A centre and its contexts.
struct Window {
  const Reader& reader;
  int32_t center;
  int64_t position;
  int32_t first_slot;        // in the ring, of the leftmost kept token in reach
  int32_t before, contexts;  // contexts left of the centre, and all
  float lr;

  __device__ int32_t context(int32_t j) const {
    return reader.ring[(first_slot + j + (j >= before)) & reader.ring_mask].token;
  }

  // Noise words 2 m and 2 m + 1, which come from one quad; -1 where they are left out.
  __device__ int2 noise_pair(int32_t m) const {
    static_assert(kDrawsPerQuad == 2);
    const Word2vecTrainParams<float>& params = reader.params;
    const PhiloxQuad quad = philox_at(params.seed, params.epoch, static_cast<uint64_t>(position),
                                      RandomStream::kNegative, static_cast<uint32_t>(m));
    const auto size = static_cast<uint32_t>(params.vocab_size);
    const int32_t first = alias_draw(params.noise, size, quad.word[0], quad.word[1]);
    const int32_t second = alias_draw(params.noise, size, quad.word[2], quad.word[3]);
    return make_int2(first == center ? -1 : first, second == center ? -1 : second);
  }

  // A noise word, or -1 where it is left out.
  __device__ int32_t noise(int32_t draw) const {
    const Word2vecTrainParams<float>& params = reader.params;
    const int32_t word =
        word2vec_noise(params.seed, params.epoch, position, static_cast<uint32_t>(draw),
                       params.noise, params.vocab_size);
    return word == center ? -1 : word;
  }
};

// Takes sentences until there are none and calls train(window) for their windows in order; it
// returns the lane's share of `copies` times the window's loss. Adds to stats.
template <typename Train>
__device__ __forceinline__ void for_each_window(const Word2vecTrainParams<float>& params,
                                                int64_t token_count, KeptToken* ring,
                                                int32_t ring_size, int lane,
                                                unsigned long long* next_sentence, double* stats,
                                                int copies, Train train) {
  Reader reader{params, ring, ring_size - 1, lane};
  double loss = 0.0;
  int64_t pairs = 0, centers = 0;
  const auto take_sentence = [&] {
    unsigned long long taken = 0;
    if (lane == 0) taken = atomicAdd(next_sentence, 1ull);
    return params.first_sentence + static_cast<int64_t>(__shfl_sync(kAllLanes, taken, 0));
  };
  for (int64_t sentence = take_sentence(); sentence < params.last_sentence;
       sentence = take_sentence()) {
    const int64_t begin = params.offsets[sentence], end = params.offsets[sentence + 1];
    if (begin < 0 || end < begin || end > token_count) {
      reader.valid = false;
      continue;
    }
    const float lr = word2vec_learning_rate(params, begin);
    reader.start(begin, end);
    for (int64_t rank = 0;; ++rank) {
      reader.read_up_to(rank + params.window);
      if (rank >= reader.kept) break;
      ++centers;
      const KeptToken center = reader.at(rank);
      const int64_t reach = center.window;
      const int32_t before = static_cast<int32_t>(min(rank, reach));
      const int32_t after = static_cast<int32_t>(min(reader.kept - 1 - rank, reach));
      const Window window{
          reader, center.token, center.position, reader.slot(rank - before), before, before + after,
          lr};
      if (window.contexts == 0) continue;
      pairs += window.contexts;
      loss += static_cast<double>(train(window));
      __syncwarp();  // the lists and the ring have been read
    }
  }
  loss = warp_sum(loss) / copies;
  if (lane == 0) {
    atomicAdd(stats, reader.valid ? loss : nan(""));
    atomicAdd(stats + 1, static_cast<double>(pairs));
    atomicAdd(stats + 2, static_cast<double>(centers));
  }
}

// ---- noise per pair -----------------------------------------------------------------------------

// Lists of more noise words than this are not searched for repeated ones: they likely have some.
constexpr int32_t kMostSearched = 128;

// Lists noise word k of context j as entry j K + k and returns the contexts that are late: their
// word, or one of their noise words, occurs earlier in the window too, and training on it changes
// the row. Bit j % 32 stands for context j.
__device__ __forceinline__ unsigned draw_noise(const Window& window, int32_t negatives, Entry* list,
                                               int lane) {
  const int32_t count = window.contexts * negatives;
  for (int32_t base = 0; base < count; base += 2 * kWarp) {
    const int32_t n = base + 2 * lane;
    if (n < count) {
      const int2 words = window.noise_pair(n / 2);
      list[n].row = words.x;
      if (n + 1 < count) list[n + 1].row = words.y;
    }
  }
  __syncwarp();
  if (window.contexts > kWarp || count > kMostSearched) return kAllLanes;
  const unsigned before = (1u << lane) - 1;
  const int32_t context = lane < window.contexts ? window.context(lane) : -1 - lane;
  unsigned late = (__match_any_sync(kAllLanes, context) & before) != 0 ? 1u << lane : 0u;
  for (int32_t base = 0; base < count; base += kWarp) {
    const int32_t n = base + lane;
    const int32_t row = n < count ? list[n].row : -1;
    bool seen = (__match_any_sync(kAllLanes, row) & before) != 0;
    for (int32_t s = 0; s < base; ++s) seen |= list[s].row == row;
    if (seen && row >= 0) late |= 1u << (n / negatives);
  }
  return __reduce_or_sync(kAllLanes, late);
}

// Contexts in order, each with its noise words in tiles of kNoise; the centre's row, as it was and
// as it is, stays in registers. kNoise reads of 16 bytes a lane are in flight, one transposed
// reduction gives their logits and the centre's (8 shuffles for 6), and every lane does one
// sigmoid. A context is read, trained and written in one go, which no other one sees unless it is
// late. The errors of late contexts come first, from the tables as they are before the window; the
// sweep over all of them finds these in the list and reads rows that hold the changes so far.
// Of the windows of PTB and WikiText-2, with window 5 and K = 5, 35 to 45 % have a late context, by
// frequent words among the noise (counted with lexforge.reference).
template <int kPacks, int kNoise>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock, kBlocks<kPacks, 1 + kNoise>)
    skipgram_pair_kernel(const __grid_constant__ Word2vecTrainParams<float> params,
                         int64_t token_count, uint32_t row_packs, int32_t ring_size,
                         int32_t warp_bytes, unsigned long long* next_sentence, double* stats) {
  constexpr int kTargets = 1 + kNoise;  // the centre, then noise words
  LEXFORGE_DYNAMIC_SHARED(char, shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // This lane's target, beyond all where it has none.
  const int sum = warp_sums_index<kTargets>(lane), target = sum < kTargets ? sum : INT32_MAX;
  const bool positive = target == 0;
  const bool first = lane % warp_sums_copies<kTargets>() == 0;  // of the lanes with this target
  char* own = shared + static_cast<int>(threadIdx.x) / kWarp * warp_bytes;
  KeptToken* ring = reinterpret_cast<KeptToken*>(own);
  Entry* list = reinterpret_cast<Entry*>(ring + ring_size);
  const int32_t negatives = params.negatives;
  float* center_error = reinterpret_cast<float*>(list + 2 * params.window * negatives);
  const Table<kPacks> in_table(params.in_table, row_packs, lane);
  const Table<kPacks> out_table(params.out_table, row_packs, lane);

  const auto train = [&](const Window& window) {
    float loss = 0.0f;
    Row<kPacks> center, center_now, v, rows[kNoise];
    int32_t row[kNoise];
    out_table.load(center, window.center);
    center_now = center;
    const unsigned late = draw_noise(window, negatives, list, lane);
    const auto is_late = [&](int32_t j) { return (late >> (j % kWarp) & 1) != 0; };
    // Whether there is a target for this lane in a tile of a context, and where its error is kept.
    const auto given = [&](int32_t tile) {
      return positive ? tile == 0 : target <= negatives - tile;
    };
    const auto kept_error = [&](int32_t j, int32_t tile) -> float& {
      return positive ? center_error[j] : list[j * negatives + tile + target - 1].value;
    };
    const auto read_tile = [&](int32_t j, int32_t tile) {
      const Entry* entry = list + (j * negatives + tile);
#pragma unroll
      for (int r = 0; r < kNoise; ++r) row[r] = r < negatives - tile ? entry[r].row : -1;
#pragma unroll
      for (int r = 0; r < kNoise; ++r) out_table.load(rows[r], row[r]);
    };
    const auto find_error = [&](int32_t j, int32_t tile) {
      float parts[kTargets];
      parts[0] = dot_part(v, center);
#pragma unroll
      for (int r = 0; r < kNoise; ++r) parts[1 + r] = dot_part(v, rows[r]);
      const float x = warp_sums(parts, lane);
      float error = 0.0f;
      if (given(tile) && (positive || list[j * negatives + tile + target - 1].row >= 0)) {
        error = window.lr * logistic(x, positive, 1.0f, loss);
      }
      return error;
    };

    if (late != 0) {
#pragma unroll 1
      for (int32_t j = 0; j < window.contexts; ++j) {
        if (!is_late(j)) continue;
        in_table.load(v, window.context(j));
        int32_t tile = 0;
#pragma unroll 1
        do {
          read_tile(j, tile);
          const float error = find_error(j, tile);
          if (given(tile) && first) kept_error(j, tile) = error;
          tile += kNoise;
        } while (tile < negatives);
      }
      __syncwarp();
    }
#pragma unroll 1
    for (int32_t j = 0; j < window.contexts; ++j) {
      const int32_t context = window.context(j);
      in_table.load(v, context);
      Row<kPacks> gradient;
      zero_row(gradient);
      int32_t tile = 0;
#pragma unroll 1
      do {
        read_tile(j, tile);
        float error = 0.0f;  // of this lane's target
        if (!is_late(j)) {
          error = find_error(j, tile);
        } else if (given(tile)) {
          error = kept_error(j, tile);
        }
        const float center_scale = __shfl_sync(kAllLanes, error, warp_sums_lane<kTargets>(0));
        float scale[kNoise];
#pragma unroll
        for (int r = 0; r < kNoise; ++r) {
          scale[r] = __shfl_sync(kAllLanes, error, warp_sums_lane<kTargets>(1 + r));
        }
        accumulate(gradient, center_scale, center_now);
        accumulate(center_now, center_scale, v);
#pragma unroll
        for (int r = 0; r < kNoise; ++r) accumulate(gradient, scale[r], rows[r]);
        out_table.add_scaled(row, scale, v);
        if (is_late(j)) {  // a row twice in the tile: the second sees the first one's change
          float repeats = 0.0f;
#pragma unroll
          for (int r = 1; r < kNoise; ++r) {
#pragma unroll
            for (int s = 0; s < r; ++s) {
              if (row[r] >= 0 && row[r] == row[s]) repeats = fmaf(scale[r], scale[s], repeats);
            }
          }
          accumulate(gradient, repeats, v);
        }
        tile += kNoise;
      } while (tile < negatives);
      in_table.add(context, gradient);
    }
    Row<kPacks> center_change = center_now;
    accumulate(center_change, -1.0f, center);
    out_table.add(window.center, center_change);
    return loss;
  };
  for_each_window(params, token_count, ring, ring_size, lane, next_sentence, stats,
                  warp_sums_copies<kTargets>(), train);
}

// ---- shared noise -------------------------------------------------------------------------------

// Appends the rows that `row_at` gives for 0 .. count - 1 to a list of `size` entries, each row
// once with its number; -1 is left out. Returns the new size.
template <typename RowAt>
__device__ __forceinline__ int32_t list_distinct(Entry* list, int32_t size, int32_t count, int lane,
                                                 RowAt row_at) {
  for (int32_t base = 0; base < count; base += kWarp) {
    const int32_t row = base + lane < count ? row_at(base + lane) : -1;
    const unsigned same = __match_any_sync(kAllLanes, row);
    const float number = static_cast<float>(__popc(same));
    bool fresh = row >= 0 && (same & ((1u << lane) - 1)) == 0;
    if (base > 0) {
      for (int32_t s = 0; s < size; ++s) {
        if (fresh && list[s].row == row) {
          list[s].value += number;
          fresh = false;
        }
      }
    }
    const unsigned added = __ballot_sync(kAllLanes, fresh);
    if (fresh) list[size + __popc(added & ((1u << lane) - 1))] = {row, number};
    size += __popc(added);
    __syncwarp();
  }
  return size;
}

// All errors of a window come from the rows before it, so equal rows have equal errors: each row is
// read once, trained with its number of occurrences as a weight, and written once.
//
// Up to kRows targets stay in registers with their changes; a context is read while the one before
// is trained. With more targets than that, tiles of them take turns at the contexts; their rows and
// errors are kept in shared memory, and the contexts are updated when all errors are known.
template <int kPacks, int kRows>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock, kBlocks<kPacks, kRows>)
    skipgram_shared_kernel(const __grid_constant__ Word2vecTrainParams<float> params,
                           int64_t token_count, uint32_t row_packs, int32_t ring_size,
                           int32_t warp_bytes, unsigned long long* next_sentence, double* stats) {
  LEXFORGE_DYNAMIC_SHARED(char, shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // This lane's target in a tile, beyond all where it has none.
  const int sum = warp_sums_index<kRows>(lane), of_tile = sum < kRows ? sum : INT32_MAX;
  char* own = shared + static_cast<int>(threadIdx.x) / kWarp * warp_bytes;
  KeptToken* ring = reinterpret_cast<KeptToken*>(own);
  float4* kept_rows = reinterpret_cast<float4*>(ring + ring_size);
  const int32_t most_targets = 1 + params.negatives;
  const bool one_tile = most_targets <= kRows;
  Entry* target = reinterpret_cast<Entry*>(kept_rows + (one_tile ? 0 : most_targets * row_packs));
  Entry* context = target + most_targets;
  float* kept_error = reinterpret_cast<float*>(context + 2 * params.window);
  const Table<kPacks> in_table(params.in_table, row_packs, lane);
  const Table<kPacks> out_table(params.out_table, row_packs, lane);

  const auto train = [&](const Window& window) {
    float loss = 0.0f;
    if (lane == 0) target[0] = {window.center, 1.0f};
    const int32_t targets = list_distinct(target, 1, params.negatives, lane,
                                          [&](int32_t k) { return window.noise(k); });
    const int32_t contexts = list_distinct(context, 0, window.contexts, lane,
                                           [&](int32_t j) { return window.context(j); });
    __syncwarp();
#pragma unroll 1
    for (int32_t tile = 0; tile < targets; tile += kRows) {
      const int32_t here = min(targets - tile, kRows);
      const float weight = of_tile < here ? target[tile + of_tile].value : 0.0f;
      const bool positive = tile == 0 && of_tile == 0;
      Row<kPacks> rows[kRows], change[kRows], v;
      in_table.load(v, context[0].row);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        out_table.load(rows[r], r < here ? target[tile + r].row : -1);
        zero_row(change[r]);
      }
      if (!one_tile) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int p = 0; p < kPacks; ++p) {
            if (r < here && in_table.used(p)) {
              kept_rows[(tile + r) * row_packs + in_table.column(p)] = rows[r].pack[p];
            }
          }
        }
      }
#pragma unroll 1
      for (int32_t j = 0; j < contexts; ++j) {
        Row<kPacks> next;
        in_table.load(next, j + 1 < contexts ? context[j + 1].row : -1);
        const Entry input = context[j];
        float parts[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) parts[r] = dot_part(v, rows[r]);
        const float x = warp_sums(parts, lane);
        const float count = weight * input.value;
        const float error = window.lr * count * logistic(x, positive, count, loss);
        Row<kPacks> gradient;
        zero_row(gradient);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const float each = __shfl_sync(kAllLanes, error, warp_sums_lane<kRows>(r));
          accumulate(gradient, each, rows[r]);
          accumulate(change[r], each, v);
        }
        if (one_tile) {
          in_table.add(input.row, gradient);
        } else if (of_tile < here && lane % warp_sums_copies<kRows>() == 0) {
          kept_error[j * most_targets + tile + of_tile] = error;
        }
        v = next;
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        out_table.add(r < here ? target[tile + r].row : -1, change[r]);
      }
    }
    if (!one_tile) {
      __syncwarp();
      for (int32_t j = 0; j < contexts; ++j) {
        Row<kPacks> gradient;
        zero_row(gradient);
        for (int32_t t = 0; t < targets; ++t) {
          const float error = kept_error[j * most_targets + t];
#pragma unroll
          for (int p = 0; p < kPacks; ++p) {
            if (in_table.used(p)) {
              gradient.pack[p] =
                  fma4(error, kept_rows[t * row_packs + in_table.column(p)], gradient.pack[p]);
            }
          }
        }
        in_table.add(context[j].row, gradient);
      }
    }
    return loss;
  };
  for_each_window(params, token_count, ring, ring_size, lane, next_sentence, stats,
                  warp_sums_copies<kRows>(), train);
}

// ---- launcher -----------------------------------------------------------------------------------

// How many sentences are trained at the same time. Each sees the rows as they were some
// microseconds ago, and where many concurrent windows push one row by the same stale error the sum
// overshoots: what fills an H200 suits a vocabulary of 70,000 words and would ruin one of 100.
// Hence at most one warp for every 32 words (about as many rows in flight as there are words), and
// one for every 1024 tokens of the corpus, so that what is in flight stays a small part of an
// epoch. 2112 warps, all of an H200's, run from 67,584 words and 2.2 million tokens on.
constexpr int64_t kWordsPerWarp = 32;
constexpr int64_t kTokensPerWarp = 1024;

int64_t ring_size_for(int64_t window) {
  int64_t size = kWarp;
  while (size < 2 * window + 1 + kWarp) size *= 2;
  return size;
}

// Targets with shared noise that make a tile: as many as stay in registers, and 6 or 8 by what
// leaves less of the last tile empty.
int64_t rows_together(int64_t targets, int64_t stride) {
  if (stride > 512) return 2;
  if (stride > 384) return 4;
  const auto in_tiles = [&](int64_t rows) { return (targets + rows - 1) / rows * rows; };
  return stride <= 256 && in_tiles(8) <= in_tiles(6) ? 8 : 6;
}

template <int kPacks>
void launch_for(const Word2vecTrainParams<float>& params, int64_t token_count,
                int64_t sentence_count, unsigned long long* next_sentence, double* stats,
                cudaStream_t stream) {
  int device = 0, multiprocessors = 0;
  check_cuda(cudaGetDevice(&device), "word2vec_train_");
  check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
             "word2vec_train_");
  const auto start = [&](auto* kernel, int64_t blocks_each) {
    const int64_t bytes = word2vec_cuda_warp_bytes(params.window, params.negatives,
                                                   params.share_negatives, params.stride);
    const int64_t warps = std::max<int64_t>(
        1,
        std::min({kWarpsPerBlock * blocks_each * multiprocessors, params.vocab_size / kWordsPerWarp,
                  token_count / kTokensPerWarp, sentence_count}));
    const int64_t warps_per_block =
        std::min({int64_t{kWarpsPerBlock}, warps, kWord2vecCudaMaxWarpBytes / bytes});
    launch(kernel, blocks_for(warps, warps_per_block),
           static_cast<uint32_t>(kWarp * warps_per_block),
           static_cast<size_t>(bytes * warps_per_block), stream, params, token_count,
           static_cast<uint32_t>(params.stride / 4),
           static_cast<int32_t>(ring_size_for(params.window)), static_cast<int32_t>(bytes),
           next_sentence, stats);
  };
  if (!params.share_negatives) {
    constexpr int kNoise = kPacks <= 4 ? 5 : 1;  // K is mostly a multiple of five
    return start(skipgram_pair_kernel<kPacks, kNoise>, kBlocks<kPacks, 1 + kNoise>);
  }
  if constexpr (kPacks <= 2) {
    if (rows_together(1 + params.negatives, params.stride) == 8) {
      return start(skipgram_shared_kernel<kPacks, 8>, kBlocks<kPacks, 8>);
    }
  }
  constexpr int kRows = kPacks <= 3 ? 6 : kPacks <= 4 ? 4 : 2;
  start(skipgram_shared_kernel<kPacks, kRows>, kBlocks<kPacks, kRows>);
}

}  // namespace

int64_t word2vec_cuda_warp_bytes(int64_t window, int64_t negatives, bool share_negatives,
                                 int64_t stride) {
  const int64_t contexts = 2 * window, targets = 1 + negatives;
  int64_t bytes = ring_size_for(window) * static_cast<int64_t>(sizeof(KeptToken));
  if (share_negatives) {
    bytes += (contexts + targets) * static_cast<int64_t>(sizeof(Entry));
    if (targets > rows_together(targets, stride)) {
      bytes += targets * (stride + contexts) * static_cast<int64_t>(sizeof(float));
    }
  } else {
    bytes += contexts * (negatives * static_cast<int64_t>(sizeof(Entry)) +
                         static_cast<int64_t>(sizeof(float)));
  }
  return (bytes + 15) / 16 * 16;
}

void launch_word2vec_train(const Word2vecTrainParams<float>& params, int64_t token_count,
                           int64_t sentence_count, unsigned long long* next_sentence, double* stats,
                           void* stream) {
  const auto with = [&](auto* launcher) {
    launcher(params, token_count, sentence_count, next_sentence, stats,
             static_cast<cudaStream_t>(stream));
  };
  if (params.stride <= 128) return with(launch_for<1>);
  if (params.stride <= 256) return with(launch_for<2>);
  if (params.stride <= 384) return with(launch_for<3>);
  if (params.stride <= 512) return with(launch_for<4>);
  return with(launch_for<8>);
}

}  // namespace lexforge
