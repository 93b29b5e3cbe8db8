// Skip-gram with noise words of each context. A context's row and its K noise rows are read
// together; the centre's row, a target of every context, and its change stay in registers.
#include "word2vec/cuda/start.cuh"
#include "word2vec/cuda/targets.cuh"

namespace lexforge::word2vec {
namespace {

// Noise words in a tile: K is mostly a multiple of five. Targets of a tile of the tree.
template <int kPacks>
constexpr int kNoiseTogether = kPacks <= 4 ? 5 : 1;
template <int kPacks>
constexpr int kNodesTogether = kPacks == 1   ? 6
                               : kPacks <= 4 ? 4
                                             : 1;

// Blocks of a multiprocessor, as the registers allow (ptxas -v, sm_90). A thread has, for 1, 2, 3,
// 4 and 8 packs, 113, 159, 196, 235 and 245, with a tree too 128, 166, 208, 251 and 240; in rounds
// fewer.
template <int kPacks>
constexpr int kBlocks = kPacks == 1   ? 4
                        : kPacks == 2 ? 3
                                      : 2;

// Lists of more noise words than this are not searched for repeated ones: they likely have some.
constexpr int32_t kMostSearched = 128;

// Lists noise word k of context j as entry j K + k.
__device__ __forceinline__ void draw_noise(const Window& window, Entry* list, int lane) {
  const int32_t count = window.contexts * window.params.negatives;
  for (int32_t base = 0; base < count; base += 2 * kWarp) {
    const int32_t n = base + 2 * lane;
    if (n < count) {
      const int2 words = window.noise_pair(n / 2);
      list[n].row = words.x;
      if (n + 1 < count) list[n + 1].row = words.y;
    }
  }
  __syncwarp();
}

// The contexts that are late: their word, or one of their noise words, occurs earlier in the window
// too, and training on it changes the row. Bit j % 32 stands for context j.
__device__ __forceinline__ unsigned late_contexts(const Window& window, const Entry* list,
                                                  int lane) {
  const int32_t negatives = window.params.negatives, count = window.contexts * negatives;
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
//
// With a tree too (kTree), which changes the contexts' rows first, all contexts are late. In rounds
// none is: what a window changes is not seen before the round has ended.
template <int kPacks, bool kTree, bool kRounds>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock, kBlocks<kPacks>)
    skipgram_pair_kernel(const __grid_constant__ Word2vecTrainParams<float> params,
                         const __grid_constant__ Launch launched) {
  static_assert(!kTree || !kRounds);
  constexpr int kNoise = kNoiseTogether<kPacks>;
  constexpr int kTargets = 1 + kNoise;  // the centre, then noise words
  LEXFORGE_DYNAMIC_SHARED(char, shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // This lane's target, beyond all where it has none.
  const int sum = warp_sums_index<kTargets>(lane), target = sum < kTargets ? sum : INT32_MAX;
  const bool positive = target == 0;
  constexpr int kCopies = warp_sums_copies<kTargets>();
  const bool first = lane % kCopies == 0;  // of the lanes with this target
  char* own = shared + static_cast<int>(threadIdx.x) / kWarp * launched.warp_bytes;
  KeptToken* ring = reinterpret_cast<KeptToken*>(own);
  Lists lists{};
  lists.root_share = launched.root_share;
  lists.most_targets = kTree ? params.longest_path : 0;
  lists.kept_rows = reinterpret_cast<float4*>(ring + launched.ring_size);
  lists.target =
      reinterpret_cast<Entry*>(lists.kept_rows + lists.most_targets * launched.row_packs);
  lists.context = lists.target + lists.most_targets;
  Entry* list = lists.context + (kTree ? 2 * params.window : 0);
  const int32_t negatives = params.negatives;
  float* center_error = reinterpret_cast<float*>(list + 2 * params.window * negatives);
  lists.kept_error = center_error + 2 * params.window;
  const Tables<kPacks, kRounds> tables(params, launched, lane);

  const auto train = [&](const Window& window) {
    float loss = 0.0f, tree_loss = 0.0f;
    Row<kPacks> center, center_now, v, rows[kNoise];
    int32_t row[kNoise];
    int32_t nodes = 0;
    if constexpr (kTree) {
      nodes = list_path(window, lists.target, lane);
      if (nodes < 0) return nanf("");
    }
    tables.out.load(center, window.center);
    draw_noise(window, list, lane);
    unsigned late = kTree ? kAllLanes : 0;
    if constexpr (!kTree && !kRounds) late = late_contexts(window, list, lane);
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
      for (int r = 0; r < kNoise; ++r) tables.out.load(rows[r], row[r]);
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

    if (!kRounds && late != 0) {
#pragma unroll 1
      for (int32_t j = 0; j < window.contexts; ++j) {
        if (!is_late(j)) continue;
        tables.in.load(v, window.context(j));
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
    if constexpr (kTree) {
      tree_loss = train_in_common<kPacks, kNodesTogether<kPacks>>(window, lists, tables, nodes,
                                                                  nodes, lane);
      tables.out.load(center, window.center);  // again, not kept in registers meanwhile
    }
    if constexpr (kRounds) {
      for (int32_t n = lane; n < window.contexts * negatives; n += kWarp) {
        tables.out.count(list[n].row, 1.0f);
      }
      for (int32_t j = lane; j < window.contexts; j += kWarp) {
        tables.in.count(window.context(j), 1.0f);
      }
      if (lane == 0) tables.out.count(window.center, 1.0f);
      zero_row(center_now);  // its change alone
    } else {
      center_now = center;
    }
#pragma unroll 1
    for (int32_t j = 0; j < window.contexts; ++j) {
      const int32_t context = window.context(j);
      tables.in.load(v, context);
      Row<kPacks> gradient;
      zero_row(gradient);
      int32_t tile = 0;
#pragma unroll 1
      do {
        read_tile(j, tile);
        float error = 0.0f;  // of this lane's target
        if (kRounds || !is_late(j)) {
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
        accumulate(gradient, center_scale, kRounds ? center : center_now);
        accumulate(center_now, center_scale, v);
#pragma unroll
        for (int r = 0; r < kNoise; ++r) accumulate(gradient, scale[r], rows[r]);
        tables.out.add_scaled(row, scale, v);
        if (!kRounds &&
            is_late(j)) {  // a row twice in the tile: the second sees the first's change
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
      tables.add_in(context, gradient);
    }
    if constexpr (!kRounds) accumulate(center_now, -1.0f, center);
    tables.out.add(window.center, center_now);
    return loss * (1.0f / kCopies) + tree_loss;
  };
  for_each_window<kRounds>(params, launched, ring, lane, train);
}

}  // namespace

void start_pair(const Word2vecTrainParams<float>& params, const Launch& launched,
                cudaStream_t stream) {
  for_packs(params.stride, [&]<int kPacks>() {
    Kernel* kernel = skipgram_pair_kernel<kPacks, false, false>;
    if (params.together > 0) {
      kernel = skipgram_pair_kernel<kPacks, false, true>;
    } else if (params.tree_table != nullptr) {
      kernel = skipgram_pair_kernel<kPacks, true, false>;
    }
    start(kernel, kBlocks<kPacks>, params, launched, stream);
  });
}

}  // namespace lexforge::word2vec
