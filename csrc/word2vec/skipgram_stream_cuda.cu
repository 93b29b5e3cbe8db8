// Streaming skip-gram on CUDA (contract: skipgram_stream.h and skipgram_stream_cuda.h).
#include <algorithm>

#include "common/cuda_launch.cuh"
#include "common/warp.cuh"
#include "word2vec/skipgram_stream_cuda.h"

namespace lexforge {
namespace {

// ---- helpers
// --------------------------------------------------------------------------------------

constexpr int kWarpsPerBlock = 4;

// As many blocks as the registers of a tile allow: 111 registers for one pack, up to 168 for two to
// four, 214 for eight (ptxas -v).
template <int kPacks>
constexpr int kBlocksPerMultiprocessor = kPacks == 1   ? 4
                                         : kPacks <= 4 ? 3
                                                       : 2;

// A token that survived sub-sampling, in the warp's ring.
struct alignas(16) KeptToken {
  int32_t token;
  int32_t window;
  int64_t position;
};

// A row that the current window updates, in the warp's list.
struct alignas(8) Update {
  int32_t row;  // of out_table, or -1
  float error;  // multiplies the centre row
};

// What a lane knows about one target of a window before its dot product.
struct Target {
  int32_t row;   // -1: none, or a noise word that is left out
  float weight;  // 0 then
  float label;
};

// A table row across a warp: lane l holds floats 4 l .. 4 l + 3 of every 128.
template <int kPacks>
struct Row {
  float4 pack[kPacks];
};

__device__ __forceinline__ float4 fma4(float a, float4 x, float4 y) {
  return make_float4(fmaf(a, x.x, y.x), fmaf(a, x.y, y.y), fmaf(a, x.z, y.z), fmaf(a, x.w, y.w));
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

template <int kPacks>
__device__ __forceinline__ void zero_row(Row<kPacks>& row) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) row.pack[p] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// A table as one lane sees it, in units of four floats: a table has fewer than 2^32 of those. Loads
// have no conditions, so that many are in flight: a lane or a target without work reads the table's
// first element, and its product is multiplied by zero.
template <int kPacks>
struct Table {
  float4* start;
  uint32_t stride;
  uint32_t offset[kPacks];  // in a row, of this lane's part of each pack
  bool used[kPacks];        // false past the row's end

  __device__ Table(float* table, uint32_t row_stride, int lane)
      : start(reinterpret_cast<float4*>(table)), stride(row_stride) {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const uint32_t column = lane + p * kWarp;
      used[p] = column < stride;
      offset[p] = used[p] ? column : 0;
    }
  }

  // Reads through the second-level cache, where the atomic additions happen: a line in the first
  // level would hide what other multiprocessors have added since.
  __device__ __forceinline__ void load(Row<kPacks>& into, int32_t row) const {
    const uint32_t first = static_cast<uint32_t>(row) * stride;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      into.pack[p] = __ldcg(start + (row < 0 ? 0 : first + offset[p]));
    }
  }

  __device__ __forceinline__ void clear_unused(Row<kPacks>& row) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      if (!used[p]) row.pack[p] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
  }

  // row += scale * addend.
  __device__ __forceinline__ void add(int32_t row, float scale, const Row<kPacks>& addend) const {
    const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const uint32_t first = static_cast<uint32_t>(row) * stride;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      if (used[p]) atomic_add4(start + first + offset[p], fma4(scale, addend.pack[p], zero));
    }
  }
};

// ---- the sentence reader
// --------------------------------------------------------------------------

// Reads a sentence 32 tokens at a time and keeps the survivors of sub-sampling in a ring that is
// just large enough for a window and one more reading, whatever the sentence's length.
struct Reader {
  const SkipgramStreamParams<float>& params;
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
        keep = !bad && skipgram_keep(params.seed, params.epoch, mine, params.keep[token]);
      }
      if (__any_sync(kAllLanes, bad)) {
        valid = false;
        end = position;
        return;
      }
      const unsigned survivors = __ballot_sync(kAllLanes, keep);
      if (keep) {
        const int window = params.dynamic_window
                               ? skipgram_window(params.seed, params.epoch, mine, params.window)
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

// ---- kernel
// ---------------------------------------------------------------------------------------

// The targets of one window, in the contract's order.
struct Window {
  int32_t first_slot;        // in the ring, of the leftmost kept token in reach
  int32_t before, contexts;  // contexts left of the centre, and all
  int32_t targets;
  int64_t position;

  __device__ int32_t context(const Reader& reader, int32_t j) const {
    return reader.ring[(first_slot + j + (j >= before)) & reader.ring_mask].token;
  }

  __device__ Target target(const Reader& reader, int32_t t) const {
    const SkipgramStreamParams<float>& params = reader.params;
    if (t >= targets) return {-1, 0.0f, 0.0f};
    int32_t j = t, draw = t - contexts;  // shared: all contexts, then the noise words
    bool positive = t < contexts;
    if (!params.share_negatives) {
      j = t / (params.negatives + 1);
      positive = t % (params.negatives + 1) == 0;
      draw = t - j - 1;
    }
    if (positive) return {context(reader, j), 1.0f, 1.0f};
    const int32_t word =
        skipgram_noise(params.seed, params.epoch, position, static_cast<uint32_t>(draw),
                       params.noise, params.vocab_size);
    int32_t weight = 0;
    if (params.share_negatives) {
      for (int32_t c = 0; c < contexts; ++c) weight += context(reader, c) != word;
    } else {
      weight = context(reader, j) != word;
    }
    return {weight > 0 ? word : -1, static_cast<float>(weight), 0.0f};
  }
};

// Sum of e_s over the targets s before this lane's target that are the same row.
//
// All dot products of a window come before its updates, and a row's update does not enter the
// centre's gradient unless the row occurs again: then the contract's order adds e_s e_t v for each
// such pair. Rows repeat in about every second window of English text, mostly the frequent words
// among the noise, so this path is as short as the usual one.
__device__ float earlier_errors(const Update* list, int32_t before, Update mine, int lane) {
  float sum = 0.0f;
  for (int32_t s = 0; s < before; ++s) {
    const Update earlier = list[s];
    if (earlier.row == mine.row) sum += earlier.error;
  }
  const unsigned same = __match_any_sync(kAllLanes, mine.row);
  // Lanes whose row comes again in a higher lane.
  unsigned repeated = __ballot_sync(kAllLanes, mine.row >= 0 && (same >> lane) > 1u);
  for (; repeated != 0; repeated &= repeated - 1) {
    const int s = __ffs(static_cast<int>(repeated)) - 1;
    const float error = __shfl_sync(kAllLanes, mine.error, s);
    if (s < lane && ((same >> s) & 1u)) sum += error;
  }
  return sum;
}

// One warp per sentence, taken in turn from a counter. Within it, per centre: each lane finds one
// of up to 32 targets at a time (its noise word by Philox and one 8-byte read of the alias table);
// the warp then takes kRows targets together, so that kRows 16-byte loads per lane are in flight,
// one transposed reduction gives all their logits (9 shuffles for 8), and every lane does one
// sigmoid. Errors wait in shared memory until the window's last dot product; the updates are
// 16-byte atomic additions of e v, which need no second look at the rows.
//
// At 100 dimensions (28 lanes work) a window of 6 contexts and K = 5 touches 36 rows: 16 KB read
// from and 16 KB added in the second-level cache, and about 1700 instructions (disassembled: 24 a
// row for product and gradient, 14 for the update, 200 for each 32 targets). An H200 (132
// multiprocessors, about 5 TB/s of cache reads, as much of atomic additions) is limited by that
// cache, at some 170 million windows a second; its instruction rate would allow three times as
// many, and 4 warps a scheduler cover a window's latency of some 3000 cycles. All of this is
// computed, not measured. Keeping context rows in shared memory for their time in the window would
// save one read in K + 1; sharing the noise words of a window saves two in three.
template <int kPacks, int kRows>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock, kBlocksPerMultiprocessor<kPacks>)
    skipgram_stream_kernel(const __grid_constant__ SkipgramStreamParams<float> params,
                           int64_t token_count, uint32_t row_packs, int32_t ring_size,
                           int32_t list_size, unsigned long long* next_sentence, double* stats) {
  constexpr int kLanesPerRow = kWarp / kRows;  // lanes that get the same logit
  LEXFORGE_DYNAMIC_SHARED(char, shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const Table<kPacks> in_table(params.in_table, row_packs, lane);
  const Table<kPacks> out_table(params.out_table, row_packs, lane);
  char* own = shared + warp * (ring_size * sizeof(KeptToken) + list_size * sizeof(Update));
  Update* list = reinterpret_cast<Update*>(own + ring_size * sizeof(KeptToken));
  Reader reader{params, reinterpret_cast<KeptToken*>(own), ring_size - 1, lane};
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
    const float lr = skipgram_learning_rate(params, begin);
    reader.start(begin, end);
    for (int64_t rank = 0;; ++rank) {
      reader.read_up_to(rank + params.window);
      if (rank >= reader.kept) break;
      ++centers;
      const KeptToken center = reader.at(rank);
      const int64_t reach = center.window;
      const int32_t before = static_cast<int32_t>(min(rank, reach));
      const int32_t after = static_cast<int32_t>(min(reader.kept - 1 - rank, reach));
      Window window{reader.slot(rank - before), before, before + after, 0, center.position};
      if (window.contexts == 0) continue;
      pairs += window.contexts;
      window.targets = params.share_negatives ? window.contexts + params.negatives
                                              : window.contexts * (params.negatives + 1);

      Row<kPacks> v, gradient;
      zero_row(gradient);
      in_table.load(v, center.token);
      in_table.clear_unused(v);
      float window_loss = 0.0f, repeats = 0.0f;
      for (int32_t base = 0; base < window.targets; base += kWarp) {
        const Target target = window.target(reader, base + lane);
        const int here = min(window.targets - base, kWarp);
        Update mine{target.row, 0.0f};
#pragma unroll 1
        for (int tile = 0; tile < here; tile += kRows) {
          Row<kPacks> rows[kRows];
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            out_table.load(rows[r], __shfl_sync(kAllLanes, target.row, tile + r));
          }
          float parts[kRows];
#pragma unroll
          for (int r = 0; r < kRows; ++r) parts[r] = dot_part(v, rows[r]);
          const float x = warp_sums(parts, lane);
          const int owner = tile + lane / kLanesPerRow;
          const float label = __shfl_sync(kAllLanes, target.label, owner);
          const float weight = __shfl_sync(kAllLanes, target.weight, owner);
          // __expf and the quotient are within 4 units of the last place for these arguments, the
          // logarithm within 1e-7.
          const float e = __expf(-fabsf(x));
          const float sigmoid = __fdividef(x < 0.0f ? e : 1.0f, 1.0f + e);
          const float agreement = label > 0.0f ? x : -x;
          window_loss += weight * (__logf(1.0f + e) - fminf(agreement, 0.0f));
          const float error = lr * weight * (label - sigmoid);
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const float each = __shfl_sync(kAllLanes, error, r * kLanesPerRow);
#pragma unroll
            for (int p = 0; p < kPacks; ++p) {
              gradient.pack[p] = fma4(each, rows[r].pack[p], gradient.pack[p]);
            }
          }
          const float own_error = __shfl_sync(kAllLanes, error, (lane - tile) * kLanesPerRow);
          if (lane >= tile && lane < tile + kRows) mine.error = own_error;
        }
        repeats += mine.error * earlier_errors(list, base, mine, lane);
        list[base + lane] = mine;
        __syncwarp();
      }
      if (__any_sync(kAllLanes, repeats != 0.0f)) {
        const float factor = warp_sum(repeats);
#pragma unroll
        for (int p = 0; p < kPacks; ++p) {
          gradient.pack[p] = fma4(factor, v.pack[p], gradient.pack[p]);
        }
      }
#pragma unroll 4
      for (int32_t t = 0; t < window.targets; ++t) {
        const Update update = list[t];
        if (update.row >= 0) out_table.add(update.row, update.error, v);
      }
      in_table.add(center.token, 1.0f, gradient);
      loss += static_cast<double>(window_loss);
      __syncwarp();  // the list has been read
    }
  }
  loss = warp_sum(loss) / kLanesPerRow;
  if (lane == 0) {
    atomicAdd(stats, reader.valid ? loss : nan(""));
    atomicAdd(stats + 1, static_cast<double>(pairs));
    atomicAdd(stats + 2, static_cast<double>(centers));
  }
}

// ---- launcher
// -------------------------------------------------------------------------------------

// How many sentences are trained at the same time. Each sees the rows as they were some
// microseconds ago, and where many concurrent windows push one row by the same stale error the sum
// overshoots: what fills an H200 suits a vocabulary of 70,000 words and would ruin one of 100.
// Hence at most one warp for every 32 words (about as many rows in flight as there are words), and
// one for every 1024 tokens of the corpus, so that what is in flight stays a small part of an
// epoch. 2112 warps, all of an H200's, run from 67,584 words and 2.2 million tokens on.
constexpr int64_t kWordsPerWarp = 32;
constexpr int64_t kTokensPerWarp = 1024;
constexpr int64_t kMostSharedBytes = 200 * 1024;

template <int kPacks, int kRows>
void launch_for(const SkipgramStreamParams<float>& params, int64_t token_count,
                int64_t sentence_count, unsigned long long* next_sentence, double* stats,
                cudaStream_t stream) {
  int device = 0, multiprocessors = 0;
  check_cuda(cudaGetDevice(&device), "skipgram_train_");
  check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
             "skipgram_train_");
  int64_t ring_size = kWarp;
  while (ring_size < 2 * int64_t{params.window} + 1 + kWarp) ring_size *= 2;
  const int64_t contexts = 2 * int64_t{params.window};
  const int64_t targets =
      params.share_negatives ? contexts + params.negatives : contexts * (params.negatives + 1);
  const int64_t list_size = (targets + kWarp - 1) / kWarp * kWarp;
  const int64_t bytes = ring_size * sizeof(KeptToken) + list_size * sizeof(Update);
  const int64_t warps = std::max<int64_t>(
      1,
      std::min({int64_t{kWarpsPerBlock} * kBlocksPerMultiprocessor<kPacks> * multiprocessors,
                params.vocab_size / kWordsPerWarp, token_count / kTokensPerWarp, sentence_count}));
  const int64_t warps_per_block =
      std::min({int64_t{kWarpsPerBlock}, warps, kMostSharedBytes / bytes});
  launch(skipgram_stream_kernel<kPacks, kRows>, blocks_for(warps, warps_per_block),
         static_cast<uint32_t>(kWarp * warps_per_block),
         static_cast<size_t>(bytes * warps_per_block), stream, params, token_count,
         static_cast<uint32_t>(params.stride / 4), static_cast<int32_t>(ring_size),
         static_cast<int32_t>(list_size), next_sentence, stats);
}

}  // namespace

void launch_skipgram_stream(const SkipgramStreamParams<float>& params, int64_t token_count,
                            int64_t sentence_count, unsigned long long* next_sentence,
                            double* stats, void* stream) {
  const auto with = [&](auto* launcher) {
    launcher(params, token_count, sentence_count, next_sentence, stats,
             static_cast<cudaStream_t>(stream));
  };
  // Rows together: as many as leave the tile in registers.
  if (params.stride <= 128) return with(launch_for<1, 8>);
  if (params.stride <= 256) return with(launch_for<2, 8>);
  if (params.stride <= 384) return with(launch_for<3, 4>);
  if (params.stride <= 512) return with(launch_for<4, 4>);
  return with(launch_for<8, 2>);
}

}  // namespace lexforge
