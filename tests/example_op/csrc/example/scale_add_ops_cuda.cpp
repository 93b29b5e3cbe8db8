// CUDA binding of scale_add_.
#include "common/cuda_binding.h"
#include "example/scale_add_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  void run(const ScaleAddParams& params) const { launch_scale_add(params, stream()); }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) { m.impl("scale_add_", TORCH_BOX(&lexforge::scale_add<lexforge::Cuda>)); }
