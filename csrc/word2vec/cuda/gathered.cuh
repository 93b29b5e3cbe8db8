// Windows of one input, gathered from many rows: CBOW's contexts, or bags of rows. It is gathered
// into registers, meets the targets tile by tile, and what it would change by is added to each of
// its rows. An input of n rows and T targets reads n + T rows and adds to as many.
#pragma once

#include <type_traits>

#include "word2vec/cuda/bags.cuh"
#include "word2vec/cuda/start.cuh"

namespace lexforge::word2vec {
namespace {

// Targets of a tile, and rows of a bag that are read together, a part of 32.
template <int kPacks>
constexpr int kRowsTogether = kPacks <= 2   ? 6
                              : kPacks <= 4 ? 4
                                            : 2;
template <int kPacks>
constexpr int kBagTogether = kPacks == 1   ? 8
                             : kPacks <= 4 ? 4
                                           : 2;

// Blocks of a multiprocessor, as the registers allow (ptxas -v, sm_90). A thread has, for 1, 2, 3,
// 4 and 8 packs, 96, 155, 161, 196 and 222, with bags 109, 159, 162, 198 and 226; in rounds fewer.
template <int kPacks, bool kBags>
constexpr int kBlocks = kPacks == 1   ? (kBags ? 4 : 5)
                        : kPacks <= 3 ? 3
                                      : 2;

template <int kPacks, bool kBags, bool kRounds>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock, kBlocks<kPacks, kBags>)
    gathered_kernel(const __grid_constant__ Word2vecTrainParams<float> params,
                    const __grid_constant__ Launch launched) {
  using Target = std::conditional_t<kBags, BagTarget, Entry>;
  constexpr int kRows = kRowsTogether<kPacks>;
  LEXFORGE_DYNAMIC_SHARED(char, shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // This lane's target in a tile, beyond all where it has none.
  const int sum = warp_sums_index<kRows>(lane), of_tile = sum < kRows ? sum : INT32_MAX;
  constexpr float kShare = 1.0f / warp_sums_copies<kRows>();
  char* own = shared + static_cast<int>(threadIdx.x) / kWarp * launched.warp_bytes;
  KeptToken* ring = reinterpret_cast<KeptToken*>(own);
  Target* target = reinterpret_cast<Target*>(ring + launched.ring_size);
  const Tables<kPacks, kRounds> tables(params, launched, lane);

  const auto train = [&](const Window& window) {
    int32_t nodes, targets;
    if constexpr (kBags) {
      nodes = list_paths(window, target, lane);
      if (nodes < 0) return nanf("");
      targets = nodes + list_pairs(window, target + nodes, lane);
    } else {
      nodes = list_path(window, target, lane);
      if (nodes < 0) return nanf("");
      targets = nodes + list_noise(window, target + nodes, lane);
    }
    const auto labels_of = [&](int32_t t, bool of_tree) {
      if constexpr (kBags) {
        const BagTarget mine = target[t];
        const auto each = of_tree || !params.share_negatives
                              ? 1u
                              : static_cast<uint32_t>(predicted_words(window)) - mine.positives();
        return Labels{static_cast<float>(mine.positives()), static_cast<float>(mine.negatives()),
                      static_cast<float>(each)};
      } else {
        const float value = target[t].value;
        return Labels{fmaxf(value, 0.0f), fmaxf(-value, 0.0f), 1.0f};
      }
    };
    const auto depth_of = [&](int32_t t) {
      if constexpr (kBags) {
        return target[t].depth();
      } else {
        return t;
      }
    };

    Row<kPacks> x, gradient, rows[kRows];
    int32_t row[kRows];
    float share = 1.0f;  // of a row in the input
    zero_row(x);
    zero_row(gradient);
    if constexpr (kBags) {
      constexpr int kTogether = kBagTogether<kPacks>;
      const int32_t all = for_each_bag_row(window, lane, [&](int32_t mine, int32_t, int32_t count) {
#pragma unroll 1
        for (int32_t n = 0; n < count; n += kTogether) {
          Row<kPacks> of_bag[kTogether];
#pragma unroll
          for (int r = 0; r < kTogether; ++r) {
            tables.in.load(of_bag[r], __shfl_sync(kAllLanes, mine, n + r));
          }
#pragma unroll
          for (int r = 0; r < kTogether; ++r) accumulate(x, 1.0f, of_bag[r]);
        }
      });
      if (all < 0) return nanf("");
      if (params.bag_mean) share = 1.0f / static_cast<float>(all);
    } else {
      if (params.cbow_mean) share = 1.0f / static_cast<float>(window.contexts);
#pragma unroll 1
      for (int32_t j = 0; j < window.contexts; j += kRows) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          tables.in.load(rows[r], j + r < window.contexts ? window.context(j + r) : -1);
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) accumulate(x, 1.0f, rows[r]);
      }
    }
    scale_row(x, share);
    __syncwarp();  // the list is written

    float loss = 0.0f;
    int32_t here = 0;
#pragma unroll 1
    for (int32_t tile = 0; tile < targets; tile += here) {
      const bool of_tree = tile < nodes;
      const Table<kPacks, kRounds> table = of_tree ? tables.tree : tables.out;
      here = min((of_tree ? nodes : targets) - tile, kRows);
      const bool given = of_tile < here;
      const Labels labels = given ? labels_of(tile + of_tile, of_tree) : Labels{};
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        row[r] = r < here ? target[tile + r].row : -1;
        table.load(rows[r], row[r]);
      }
      if (kRounds && given && lane % warp_sums_copies<kRows>() == 0) {
        table.count(target[tile + of_tile].row, labels.pairs());
      }
      float parts[kRows], scale[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) parts[r] = dot_part(x, rows[r]);
      const Errors errors(warp_sums(parts, lane), window.lr, labels, loss);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        scale[r] = __shfl_sync(kAllLanes, errors.sum, warp_sums_lane<kRows>(r));
        accumulate(gradient, scale[r], rows[r]);
      }
      if (!kRounds && of_tree && launched.root_share < 1.0f) {
        const int32_t depth = given ? depth_of(tile + of_tile) : 0;
        const float damped = errors.sum * share_of_node(launched.root_share, depth);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          scale[r] = __shfl_sync(kAllLanes, damped, warp_sums_lane<kRows>(r));
        }
      }
      table.add_scaled(row, scale, x);
      if (!kRounds && __any_sync(kAllLanes, errors.repeats != 0.0f)) {
        accumulate(gradient, kShare * warp_sum(errors.repeats), x);
      }
    }
    if constexpr (kBags) {
      for_each_bag_row(window, lane, [&](int32_t mine, int32_t, int32_t count) {
        tables.in.count(mine, 1.0f);
        tables.add_in_rows(mine, count, gradient);
      });
    } else {
      scale_row(gradient, share);
      if constexpr (kRounds) {
        for (int32_t j = lane; j < window.contexts; j += kWarp) {
          tables.in.count(window.context(j), 1.0f);
        }
      }
#pragma unroll 1
      for (int32_t j = 0; j < window.contexts; ++j) tables.add_in(window.context(j), gradient);
    }
    return loss * kShare;
  };
  for_each_window<kRounds>(params, launched, ring, lane, train);
}

template <bool kBags>
void start_gathered(const Word2vecTrainParams<float>& params, const Launch& launched,
                    cudaStream_t stream) {
  for_packs(params.stride, [&]<int kPacks>() {
    start(params.together > 0 ? gathered_kernel<kPacks, kBags, true>
                              : gathered_kernel<kPacks, kBags, false>,
          kBlocks<kPacks, kBags>, params, launched, stream);
  });
}

}  // namespace
}  // namespace lexforge::word2vec
