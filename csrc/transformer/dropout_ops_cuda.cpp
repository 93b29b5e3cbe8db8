// CUDA binding of dropout.h.
#include "common/cuda_binding.h"
#include "transformer/dropout_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t>
  void run(const DropoutParams<scalar_t>& params) const {
    launch_dropout(params, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) { m.impl("dropout", TORCH_BOX(&lexforge::dropout<lexforge::Cuda>)); }
