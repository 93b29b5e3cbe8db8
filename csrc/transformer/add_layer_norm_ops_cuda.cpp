// CUDA binding of add_layer_norm.h.
#include "common/cuda_binding.h"
#include "transformer/add_layer_norm_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t>
  static int64_t groups(int64_t rows, int64_t dim) {
    return add_layer_norm_groups<scalar_t>(rows, dim);
  }
  template <typename scalar_t, typename stat_t>
  void run(const AddLayerNormParams<scalar_t, stat_t>& params) const {
    launch_add_layer_norm(params, stream());
  }
  template <typename scalar_t, typename stat_t>
  void run(const AddLayerNormBackwardParams<scalar_t, stat_t>& params) const {
    launch_add_layer_norm_backward(params, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("add_layer_norm", TORCH_BOX(&lexforge::add_layer_norm<lexforge::Cuda>));
  m.impl("add_layer_norm_backward", TORCH_BOX(&lexforge::add_layer_norm_backward<lexforge::Cuda>));
  m.impl("add_layer_norm_sum", TORCH_BOX(&lexforge::add_layer_norm_sum<lexforge::Cuda>));
  m.impl("add_layer_norm_sum_backward",
         TORCH_BOX(&lexforge::add_layer_norm_sum_backward<lexforge::Cuda>));
}
