// Skip-gram with targets that all contexts of a window share: inner nodes of a tree, and noise
// words of the window. The targets and their changes stay in registers, the contexts stream past
// them: a window of c contexts and T targets moves c + T rows instead of c (1 + T).
#include "word2vec/cuda/start.cuh"
#include "word2vec/cuda/targets.cuh"

namespace lexforge::word2vec {
namespace {

// Blocks of a multiprocessor, as the registers allow (ptxas -v, sm_90). A thread has, for 1, 2, 3,
// 4 and 8 packs, 119, 168, 234, 224 and 250 in tiles of 6, 6, 6, 4 and 2 rows, and for 1 and 2
// packs 128 and 210 in tiles of 8; in rounds fewer.
template <int kPacks, int kRows>
constexpr int kBlocks = kPacks == 1                 ? 4
                        : kPacks == 2 && kRows <= 6 ? 3
                                                    : 2;

template <int kPacks, int kRows, bool kRounds>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock, kBlocks<kPacks, kRows>)
    skipgram_shared_kernel(const __grid_constant__ Word2vecTrainParams<float> params,
                           const __grid_constant__ Launch launched) {
  LEXFORGE_DYNAMIC_SHARED(char, shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  char* own = shared + static_cast<int>(threadIdx.x) / kWarp * launched.warp_bytes;
  KeptToken* ring = reinterpret_cast<KeptToken*>(own);
  const int32_t most_noise = params.out_table == nullptr ? 0 : 1 + params.negatives;
  Lists lists{};
  lists.root_share = launched.root_share;
  lists.counts = launched.round.counts;
  lists.most_targets = params.longest_path + most_noise;
  const bool keeps_rows = lists.most_targets > kRows || (params.longest_path > 0 && most_noise > 0);
  lists.kept_rows = reinterpret_cast<float4*>(ring + launched.ring_size);
  lists.target = reinterpret_cast<Entry*>(
      lists.kept_rows + (keeps_rows ? lists.most_targets * launched.row_packs : 0));
  lists.context = lists.target + lists.most_targets;
  lists.kept_error = reinterpret_cast<float*>(lists.context + 2 * params.window);
  const Tables<kPacks, kRounds> tables(params, launched, lane);

  const auto train = [&](const Window& window) {
    const int32_t nodes = list_path(window, lists.target, lane);
    if (nodes < 0) return nanf("");
    const int32_t noise = list_noise(window, lists.target + nodes, lane);
    return train_in_common<kPacks, kRows>(window, lists, tables, nodes, nodes + noise, lane);
  };
  for_each_window<kRounds>(params, launched, ring, lane, train);
}

template <int kPacks, int kRows, bool kRounds>
void start_tiles(const Word2vecTrainParams<float>& params, const Launch& launched,
                 cudaStream_t stream) {
  start(skipgram_shared_kernel<kPacks, kRows, kRounds>, kBlocks<kPacks, kRows>, params, launched,
        stream);
}

}  // namespace

int64_t rows_together(const Word2vecTrainParams<float>& params) {
  if (params.stride > 512) return params.together > 0 ? 1 : 2;
  if (params.stride > 384) return 4;
  if (params.stride > 256 || params.tree_table != nullptr || params.together > 0) return 6;
  const auto in_tiles = [&](int64_t rows) {
    return (1 + params.negatives + rows - 1) / rows * rows;
  };
  return in_tiles(8) <= in_tiles(6) ? 8 : 6;
}

void start_shared(const Word2vecTrainParams<float>& params, const Launch& launched,
                  cudaStream_t stream) {
  for_packs(params.stride, [&]<int kPacks>() {
    constexpr int kRows = kPacks <= 3 ? 6 : kPacks <= 4 ? 4 : 2;
    if (params.together > 0) {
      return start_tiles < kPacks, kPacks <= 4 ? kRows : 1, true > (params, launched, stream);
    }
    if constexpr (kPacks <= 2) {
      if (rows_together(params) == 8) {
        return start_tiles<kPacks, 8, false>(params, launched, stream);
      }
    }
    start_tiles<kPacks, kRows, false>(params, launched, stream);
  });
}

}  // namespace lexforge::word2vec
