// CBOW: the mean, or sum, of a window's contexts is gathered into registers, meets the targets tile
// by tile, and what it would change by is added to each context's row. A window of c contexts and T
// targets reads c + T rows and adds to as many.
#include "word2vec/cuda/start.cuh"
#include "word2vec/cuda/targets.cuh"

namespace lexforge::word2vec {
namespace {

template <int kPacks>
constexpr int kRowsTogether = kPacks <= 2   ? 6
                              : kPacks <= 4 ? 4
                                            : 2;

// Blocks of a multiprocessor, as the registers allow (ptxas -v, sm_90). A thread has, for 1, 2, 3,
// 4 and 8 packs, 96, 153, 158, 189 and 220; in rounds fewer.
template <int kPacks>
constexpr int kBlocks = kPacks == 1   ? 5
                        : kPacks <= 3 ? 3
                                      : 2;

template <int kPacks, bool kRounds>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock, kBlocks<kPacks>)
    cbow_kernel(const __grid_constant__ Word2vecTrainParams<float> params,
                const __grid_constant__ Launch launched) {
  constexpr int kRows = kRowsTogether<kPacks>;
  LEXFORGE_DYNAMIC_SHARED(char, shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // This lane's target in a tile, beyond all where it has none.
  const int sum = warp_sums_index<kRows>(lane), of_tile = sum < kRows ? sum : INT32_MAX;
  constexpr float kShare = 1.0f / warp_sums_copies<kRows>();
  char* own = shared + static_cast<int>(threadIdx.x) / kWarp * launched.warp_bytes;
  KeptToken* ring = reinterpret_cast<KeptToken*>(own);
  Entry* target = reinterpret_cast<Entry*>(ring + launched.ring_size);
  const Tables<kPacks, kRounds> tables(params, launched, lane);

  const auto train = [&](const Window& window) {
    const int32_t nodes = list_path(window, target, lane);
    if (nodes < 0) return nanf("");
    const int32_t targets = nodes + list_noise(window, target + nodes, lane);
    const float share = params.cbow_mean ? 1.0f / static_cast<float>(window.contexts) : 1.0f;
    Row<kPacks> x, gradient, rows[kRows];
    int32_t row[kRows];
    zero_row(x);
    zero_row(gradient);
#pragma unroll 1
    for (int32_t j = 0; j < window.contexts; j += kRows) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        tables.in.load(rows[r], j + r < window.contexts ? window.context(j + r) : -1);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) accumulate(x, 1.0f, rows[r]);
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
      const float value = of_tile < here ? target[tile + of_tile].value : 0.0f;
      const float weight = fabsf(value);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        row[r] = r < here ? target[tile + r].row : -1;
        table.load(rows[r], row[r]);
      }
      if (kRounds && of_tile < here && lane % warp_sums_copies<kRows>() == 0) {
        table.count(target[tile + of_tile].row, weight);
      }
      float parts[kRows], scale[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) parts[r] = dot_part(x, rows[r]);
      const float logit = warp_sums(parts, lane);
      const float each = window.lr * logistic(logit, value > 0.0f, weight, loss);
      const float error = weight * each;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        scale[r] = __shfl_sync(kAllLanes, error, warp_sums_lane<kRows>(r));
        accumulate(gradient, scale[r], rows[r]);
      }
      if (!kRounds && of_tree && launched.root_share < 1.0f) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) scale[r] *= share_of_node(launched.root_share, tile + r);
      }
      table.add_scaled(row, scale, x);
      if (!kRounds && __any_sync(kAllLanes, weight > 1.0f)) {
        // A noise word that is drawn again sees what it was changed by.
        const float repeats = weight > 1.0f ? error * each * (weight - 1.0f) * 0.5f : 0.0f;
        accumulate(gradient, kShare * warp_sum(repeats), x);
      }
    }
    scale_row(gradient, share);
    if constexpr (kRounds) {
      for (int32_t j = lane; j < window.contexts; j += kWarp) {
        tables.in.count(window.context(j), 1.0f);
      }
    }
#pragma unroll 1
    for (int32_t j = 0; j < window.contexts; ++j) tables.add_in(window.context(j), gradient);
    return loss * kShare;
  };
  for_each_window<kRounds>(params, launched, ring, lane, train);
}

}  // namespace

void start_cbow(const Word2vecTrainParams<float>& params, const Launch& launched,
                cudaStream_t stream) {
  for_packs(params.stride, [&]<int kPacks>() {
    start(params.together > 0 ? cbow_kernel<kPacks, true> : cbow_kernel<kPacks, false>,
          kBlocks<kPacks>, params, launched, stream);
  });
}

}  // namespace lexforge::word2vec
