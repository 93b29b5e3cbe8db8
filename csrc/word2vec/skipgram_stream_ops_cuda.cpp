// CUDA binding of skipgram_train_.
#include "common/cuda_binding.h"
#include "word2vec/skipgram_stream_binding.h"
#include "word2vec/skipgram_stream_cuda.h"

namespace lexforge {
namespace {

void skipgram_train(Tensor& in_table, Tensor& out_table, Tensor& stats, const Tensor& tokens,
                    const Tensor& offsets, const Tensor& keep, const Tensor& noise,
                    int64_t first_sentence, int64_t last_sentence, int64_t window,
                    int64_t negatives, bool dynamic_window, bool share_negatives, double alpha,
                    double min_alpha, int64_t tokens_before, int64_t total_tokens, int64_t seed,
                    int64_t epoch, int64_t /*threads*/) {
  STD_TORCH_CHECK(in_table.scalar_type() == ScalarType::Float,
                  "skipgram_train_: in_table must be float32 on CUDA");
  const auto params = skipgram_stream_params<float>(
      in_table, out_table, stats, tokens, offsets, keep, noise, first_sentence, last_sentence,
      window, negatives, dynamic_window, share_negatives, alpha, min_alpha, tokens_before,
      total_tokens, seed, epoch);
  STD_TORCH_CHECK(params.stride <= kSkipgramCudaMaxStride,
                  "skipgram_train_: rows must have at most ", kSkipgramCudaMaxStride,
                  " floats on CUDA, got ", params.stride);
  STD_TORCH_CHECK(params.vocab_size <= kSkipgramCudaMaxElements / params.stride,
                  "skipgram_train_: tables must have at most 2^34 elements on CUDA, got ",
                  params.vocab_size, " rows of ", params.stride);
  const int64_t bytes = skipgram_cuda_warp_bytes(window, negatives, share_negatives, params.stride);
  STD_TORCH_CHECK(bytes <= kSkipgramCudaMaxWarpBytes,
                  "skipgram_train_: window, negatives and rows must need at most ",
                  kSkipgramCudaMaxWarpBytes, " bytes of shared memory on CUDA, got ", bytes);
  const int64_t sentences = last_sentence - first_sentence;
  if (sentences == 0) return;
  const CudaCall call(in_table);
  Tensor next_sentence = torch::stable::new_zeros(stats, {1}, ScalarType::Long);
  launch_skipgram_stream(params, tokens.size(0), sentences, data<unsigned long long>(next_sentence),
                         data<double>(stats), call.stream());
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) { m.impl("skipgram_train_", TORCH_BOX(&lexforge::skipgram_train)); }
