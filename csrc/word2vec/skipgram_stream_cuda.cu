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

// Through the second-level cache, where the atomic additions happen: a line in the first level
// would hide what other multiprocessors have added since.
template <int kPacks>
__device__ __forceinline__ void load_row(Row<kPacks>& row, const float* table, int32_t stride,
                                         int32_t index, int column) {
  const float* start = table + static_cast<int64_t>(index) * stride;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = column + p * 4 * kWarp;
    if (c < stride) row.pack[p] = __ldcg(reinterpret_cast<const float4*>(start + c));
  }
}

// table[index] += scale * row.
template <int kPacks>
__device__ __forceinline__ void add_to_row(float* table, int32_t stride, int32_t index, int column,
                                           float scale, const Row<kPacks>& row) {
  float* start = table + static_cast<int64_t>(index) * stride;
  const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = column + p * 4 * kWarp;
    if (c < stride) atomic_add4(start + c, fma4(scale, row.pack[p], zero));
  }
}

// ---- the sentence reader
// --------------------------------------------------------------------------

// Reads a sentence 32 tokens at a time and keeps the survivors of sub-sampling in a ring that is
// just large enough for a window and one more reading, whatever the sentence's length.
struct Reader {
  const SkipgramStreamParams<float>& params;
  KeptToken* ring;
  int64_t ring_mask;
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
        const int64_t slot = kept + __popc(survivors & ((1u << lane) - 1));
        ring[slot & ring_mask] = {token, window, mine};
      }
      kept += __popc(survivors);
      position += kWarp;
    }
    __syncwarp();
  }

  __device__ KeptToken at(int64_t rank) const { return ring[rank & ring_mask]; }
};

// ---- kernel
// ---------------------------------------------------------------------------------------

// The targets of one window, in the contract's order.
struct Window {
  int64_t first, rank;  // ranks of the leftmost kept token in reach and of the centre
  int32_t contexts, targets;
  int64_t position;

  __device__ int32_t context(const Reader& reader, int32_t j) const {
    const int64_t at = first + j;
    return reader.at(at + (at >= rank)).token;
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
// 16-byte red.global.add of e v, which need no second look at the rows.
//
// At 100 dimensions (stride 112: 28 lanes work) a window of 6 contexts and K = 5 touches 36 rows:
// 16 KB read and 16 KB added in the second-level cache, and about 1100 instructions a warp. On an
// H200 (132 multiprocessors, about 5 TB/s of cache reads and of atomic sectors) the cache limits,
// at some 170 million windows a second; 4 warps a scheduler cover a window's latency of about 3000
// cycles several times. These are computed figures (ptxas -v, skipgram_stream_cuda.cu), not
// measured ones. Rows are re-read for each pair: keeping context rows for their time in the window
// would save one in K + 1 of the reads.
template <int kPacks, int kRows>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock, kBlocksPerMultiprocessor<kPacks>)
    skipgram_stream_kernel(const __grid_constant__ SkipgramStreamParams<float> params,
                           int64_t token_count, int32_t ring_size, int32_t list_size,
                           unsigned long long* next_sentence, double* stats) {
  constexpr int kLanesPerRow = kWarp / kRows;  // lanes that get the same logit
  LEXFORGE_DYNAMIC_SHARED(char, shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int column = 4 * lane;
  const int32_t stride = static_cast<int32_t>(params.stride);
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
      const int64_t first = max(rank - center.window, int64_t{0});
      const int64_t last = min(rank + center.window, reader.kept - 1);
      Window window{first, rank, static_cast<int32_t>(last - first), 0, center.position};
      if (window.contexts == 0) continue;
      pairs += window.contexts;
      window.targets = params.share_negatives ? window.contexts + params.negatives
                                              : window.contexts * (params.negatives + 1);

      Row<kPacks> v, gradient;
      zero_row(v);
      zero_row(gradient);
      load_row(v, params.in_table, stride, center.token, column);
      float window_loss = 0.0f, repeats = 0.0f;
      for (int32_t base = 0; base < window.targets; base += kWarp) {
        const Target target = window.target(reader, base + lane);
        const int here = min(window.targets - base, kWarp);
        Update mine{target.row, 0.0f};
        for (int tile = 0; tile < here; tile += kRows) {
          Row<kPacks> rows[kRows];
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const int32_t row = __shfl_sync(kAllLanes, target.row, tile + r);
            zero_row(rows[r]);
            if (row >= 0) load_row(rows[r], params.out_table, stride, row, column);
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
        if (update.row >= 0) {
          add_to_row(params.out_table, stride, update.row, column, update.error, v);
        }
      }
      add_to_row(params.in_table, stride, center.token, column, 1.0f, gradient);
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

// Sentences trained at the same time. Each sees the rows as they were a few microseconds ago, and
// where many concurrent windows push the same row by the same stale error the sum overshoots: what
// fills an H200 suits a vocabulary of 70,000 and ruins one of 100. So there is at most one warp for
// every 32 words (about 200 rows in flight for each 32 x 36 ... see kWordsPerWarp) and one for
// every 1024 tokens of the corpus.
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
         static_cast<int32_t>(ring_size), static_cast<int32_t>(list_size), next_sentence, stats);
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
