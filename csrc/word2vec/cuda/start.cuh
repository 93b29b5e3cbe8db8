// How the kernels of word2vec_train_ are started.
#pragma once

#include <algorithm>

#include "common/cuda_launch.cuh"
#include "common/warp.cuh"
#include "word2vec/cuda/launches.h"

namespace lexforge::word2vec {

using Kernel = void(Word2vecTrainParams<float>, Launch);

// Starts a kernel of which `blocks_each` blocks run on a multiprocessor. In rounds each position
// has a warp; otherwise there are as many warps as shall train sentences at the same time.
inline void start(Kernel* kernel, int64_t blocks_each, const Word2vecTrainParams<float>& params,
                  Launch launched, cudaStream_t stream) {
  const int64_t bytes = word2vec_cuda_warp_bytes(params);
  launched.ring_size = static_cast<int32_t>(ring_size_for(params.window));
  launched.warp_bytes = static_cast<int32_t>(bytes);
  launched.root_share = 1.0f;
  int64_t warps = launched.round.last - launched.round.first;
  if (params.together == 0) {
    int device = 0, multiprocessors = 0;
    check_cuda(cudaGetDevice(&device), "word2vec_train_");
    check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
               "word2vec_train_");
    warps = std::max<int64_t>(
        1, std::min({kWarpsPerBlock * blocks_each * multiprocessors,
                     word2vec_cuda_windows_at_once(params.vocab_size, launched.token_count),
                     launched.sentence_count}));
    const int32_t contexts = params.dynamic_window ? params.window + 1 : 2 * params.window;  // mean
    launched.root_share = kPairsAtOnce / static_cast<float>(warps * (params.cbow ? 1 : contexts));
  }
  const int64_t warps_per_block =
      std::min({int64_t{kWarpsPerBlock}, warps, kWord2vecCudaMaxWarpBytes / bytes});
  launch(kernel, blocks_for(warps, warps_per_block), static_cast<uint32_t>(kWarp * warps_per_block),
         static_cast<size_t>(bytes * warps_per_block), stream, params, launched);
}

// Calls function.operator()<kPacks>() for the number of 128-float packs that a row takes.
template <typename Function>
void for_packs(int64_t stride, const Function& function) {
  if (stride <= 128) return function.template operator()<1>();
  if (stride <= 256) return function.template operator()<2>();
  if (stride <= 384) return function.template operator()<3>();
  if (stride <= 512) return function.template operator()<4>();
  function.template operator()<8>();
}

}  // namespace lexforge::word2vec
