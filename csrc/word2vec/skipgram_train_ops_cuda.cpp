// CUDA binding of skipgram_train_: float32 alone.
#include "common/cuda_binding.h"
#include "word2vec/skipgram_train_binding.h"
#include "word2vec/skipgram_train_cuda.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  void run(const Checks& check, const SkipgramTrainParams<float>& params, int64_t token_count,
           Tensor& stats, int64_t /*threads*/) const {
    check.that(params.stride <= kSkipgramCudaMaxStride, "rows must have at most ",
               kSkipgramCudaMaxStride, " floats on CUDA, got ", params.stride);
    check.that(params.vocab_size <= kSkipgramCudaMaxElements / params.stride,
               "tables must have at most 2^34 elements on CUDA, got ", params.vocab_size,
               " rows of ", params.stride);
    const int64_t bytes = skipgram_cuda_warp_bytes(params.window, params.negatives,
                                                   params.share_negatives, params.stride);
    check.that(bytes <= kSkipgramCudaMaxWarpBytes, "window, negatives and rows must need at most ",
               kSkipgramCudaMaxWarpBytes, " bytes of shared memory on CUDA, got ", bytes);
    const int64_t sentences = params.last_sentence - params.first_sentence;
    if (sentences == 0) return;
    const Tensor next_sentence = new_zeros(stats, {1}, ScalarType::Long);
    launch_skipgram_train(params, token_count, sentences, data<unsigned long long>(next_sentence),
                          data<double>(stats), stream());
  }

  void run(const Checks& check, const SkipgramTrainParams<double>&, int64_t, Tensor&,
           int64_t) const {
    check.that(false, "in_table must be float32 on CUDA");
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("skipgram_train_", TORCH_BOX(&lexforge::skipgram_train<lexforge::Cuda>));
}
