// CUDA binding of bias_activation.h.
#include "common/cuda_binding.h"
#include "transformer/bias_activation_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t, typename stat_t>
  void run(const BiasActivationParams<scalar_t, stat_t>& params) const {
    launch_bias_activation(params, stream());
  }
  template <typename scalar_t, typename stat_t>
  void run(const BiasActivationBackwardParams<scalar_t, stat_t>& params) const {
    launch_bias_activation_backward(params, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("bias_activation", TORCH_BOX(&lexforge::bias_activation<lexforge::Cuda>));
  m.impl("bias_activation_backward",
         TORCH_BOX(&lexforge::bias_activation_backward<lexforge::Cuda>));
}
