// CUDA binding of decode_attention.h. The content of lengths is not looked at here.
#include "attention/decode_attention_binding.h"
#include "common/cuda_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t>
  static void check_lengths(const Checks&, const DecodeAttentionParams<scalar_t>&) {}

  template <typename scalar_t>
  void run(const DecodeAttentionParams<scalar_t>& params, const Tensor& out) const {
    const Tensor scratch = new_empty(out, {decode_attention_scratch(params)}, stat_type(out));
    launch_decode_attention(params, data<Stat<scalar_t>>(scratch), stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("decode_attention_", TORCH_BOX(&lexforge::decode_attention<lexforge::Cuda>));
}
