// CUDA binding of word2vec_train_: float32 alone.
#include "common/cuda_binding.h"
#include "word2vec/word2vec_train_binding.h"
#include "word2vec/word2vec_train_cuda.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  static constexpr bool kParts = false;

  void run(const Checks& check, const Word2vecTrainParams<float>& params, int64_t token_count,
           Tensor& stats, int64_t /*threads*/) const {
    check.that(params.stride <= kWord2vecCudaMaxStride, "rows must have at most ",
               kWord2vecCudaMaxStride, " floats on CUDA, got ", params.stride);
    check.that(params.vocab_size <= kWord2vecCudaMaxElements / params.stride,
               "tables must have at most 2^34 elements on CUDA, got ", params.vocab_size,
               " rows of ", params.stride);
    const int64_t bytes = word2vec_cuda_warp_bytes(params.window, params.negatives,
                                                   params.share_negatives, params.stride);
    check.that(bytes <= kWord2vecCudaMaxWarpBytes, "window, negatives and rows must need at most ",
               kWord2vecCudaMaxWarpBytes, " bytes of shared memory on CUDA, got ", bytes);
    const int64_t sentences = params.last_sentence - params.first_sentence;
    if (sentences == 0) return;
    const Tensor next_sentence = new_zeros(stats, {1}, ScalarType::Long);
    launch_word2vec_train(params, token_count, sentences, data<unsigned long long>(next_sentence),
                          data<double>(stats), stream());
  }

  void run(const Checks& check, const Word2vecTrainParams<double>&, int64_t, Tensor&,
           int64_t) const {
    check.that(false, "in_table must be float32 on CUDA");
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("word2vec_train_", TORCH_BOX(&lexforge::word2vec_train<lexforge::Cuda>));
}
