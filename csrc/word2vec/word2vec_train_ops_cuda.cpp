// CUDA binding of word2vec_train_: float32 alone.
#include <vector>

#include "common/cuda_binding.h"
#include "word2vec/word2vec_train_binding.h"
#include "word2vec/word2vec_train_cuda.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  static constexpr bool kShards = false;

  void run(const Checks& check, const Word2vecTrainParams<float>& params, int64_t token_count,
           Tensor& stats, Tensor& /*shard_rows*/, int64_t /*threads*/) const {
    check.that(params.stride <= kWord2vecCudaMaxStride, "rows must have at most ",
               kWord2vecCudaMaxStride, " floats on CUDA, got ", params.stride);
    check.that(params.in_rows <= kWord2vecCudaMaxElements / params.stride,
               "tables must have at most 2^34 elements on CUDA, got ", params.in_rows, " rows of ",
               params.stride);
    const int64_t bytes = word2vec_cuda_warp_bytes(params);
    check.that(bytes <= kWord2vecCudaMaxWarpBytes,
               "window, negatives, longest_path and rows must need at most ",
               kWord2vecCudaMaxWarpBytes, " bytes of shared memory on CUDA, got ", bytes);
    if (params.first_sentence == params.last_sentence) return;
    if (params.together > 0) return run_rounds(check, params, token_count, stats);
    const Tensor next_sentence = new_zeros(stats, {1}, ScalarType::Long);
    launch_word2vec_train(params, token_count, data<unsigned long long>(next_sentence),
                          data<double>(stats), stream());
  }

  // Bfloat16, which rounds at random, does not go with atomic additions.
  template <typename row_t>
  void run(const Checks& check, const Word2vecTrainParams<row_t>&, int64_t, Tensor&, Tensor&,
           int64_t) const {
    check.that(false, "in_table must be float32 on CUDA");
  }

 private:
  void run_rounds(const Checks& check, const Word2vecTrainParams<float>& params,
                  int64_t token_count, Tensor& stats) const {
    const int64_t words = params.vocab_size;
    const int64_t rows[] = {params.in_rows, params.out_table == nullptr ? 0 : words,
                            params.tree_table == nullptr ? 0 : words - 1};
    const Tensor totals = new_zeros(stats, {kWord2vecRoundTotals}, ScalarType::Long);
    const Tensor kept = new_zeros(stats, {(token_count + 31) / 32}, ScalarType::Int);
    Word2vecRoundScratch scratch{};
    scratch.totals = data<unsigned long long>(totals);
    scratch.kept = data<uint32_t>(kept);
    std::vector<Tensor> owned;
    for (int table = 0; table < 3; ++table) {
      owned.push_back(new_zeros(stats, {rows[table], params.stride}, ScalarType::Long));
      scratch.sums[table] = data<unsigned long long>(owned.back());
      owned.push_back(new_zeros(stats, {rows[table]}, ScalarType::Int));
      scratch.draws[table] = data<int32_t>(owned.back());
    }
    const bool rise =
        launch_word2vec_rounds(params, token_count, scratch, data<double>(stats), stream());
    check.that(rise, "offsets must rise from 0 to at most ", token_count);
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("word2vec_train_", TORCH_BOX(&lexforge::word2vec_train<lexforge::Cuda>));
}
