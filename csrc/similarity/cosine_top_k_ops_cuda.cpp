// CUDA binding of cosine_top_k.h.
#include "common/cuda_binding.h"
#include "similarity/cosine_top_k_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t>
  void run(const CosineTopKParams<scalar_t>& params, const Tensor& ids) const {
    const Tensor workspace = new_empty(ids, {cosine_top_k_workspace(params)});
    launch_cosine_top_k(params, data<uint64_t>(workspace), stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("cosine_top_k", TORCH_BOX(&lexforge::cosine_top_k<lexforge::Cuda>));
}
