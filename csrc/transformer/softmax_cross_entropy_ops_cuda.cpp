// CUDA binding of softmax_cross_entropy.h. Labels are checked by nobody: see there.
#include "common/cuda_binding.h"
#include "transformer/softmax_cross_entropy_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t, typename stat_t>
  void run(const SoftmaxCrossEntropyParams<scalar_t, stat_t>& params) const {
    launch_softmax_cross_entropy(params, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("softmax_cross_entropy_", TORCH_BOX(&lexforge::softmax_cross_entropy<lexforge::Cuda>));
}
