// CUDA binding of conv_max_pool.h.
#include "common/cuda_binding.h"
#include "convolution/conv_max_pool_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t, typename stat_t>
  void run(const ConvMaxPoolParams<scalar_t, stat_t>& params, const Tensor& /*x*/,
           const Tensor& /*weight*/) const {
    launch_conv_max_pool(params, stream());
  }

  template <typename stat_t>
  void run(const ConvPicksParams<stat_t>& params) const {
    launch_conv_max_pool_picks(params, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  using namespace lexforge;
  m.impl("conv_max_pool", TORCH_BOX(&conv_max_pool<Cuda>));
  m.impl("conv_max_pool_picks", TORCH_BOX(&conv_max_pool_picks<Cuda>));
}
