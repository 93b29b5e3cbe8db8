// CUDA binding of attention.h. The content of cu_seqlens and valid_lens is not looked at here.
#include "attention/attention_binding.h"
#include "attention/attention_cuda.h"
#include "common/cuda_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  static void check_lengths(const Checks&, const AttentionShape&) {}

  template <typename scalar_t, typename stat_t>
  void run(const AttentionParams<scalar_t, stat_t>& params) const {
    launch_attention(params, stream());
  }

  template <typename scalar_t, typename stat_t>
  void run(const AttentionBackwardParams<scalar_t, stat_t>& params, const Tensor& like) const {
    const Tensor scratch = new_empty(like, {attention_backward_scratch<scalar_t>(params.shape)});
    launch_attention_backward(params, data<stat_t>(scratch), stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("attention", TORCH_BOX(&lexforge::attention<lexforge::Cuda>));
  m.impl("attention_backward", TORCH_BOX(&lexforge::attention_backward<lexforge::Cuda>));
}
