// CUDA binding of softmax_cross_entropy.h. Labels are checked by nobody: see there.
#include "common/cuda_binding.h"
#include "transformer/softmax_cross_entropy_binding.h"

namespace lexforge {
namespace {

std::tuple<Tensor, Tensor> softmax_cross_entropy_cuda(const Tensor& logits,
                                                      const OptionalTensor& bias,
                                                      const Tensor& labels, const Tensor& scale,
                                                      bool gradient) {
  const CudaCall call(logits);
  return softmax_cross_entropy_with(logits, bias, labels, scale, gradient, [&](const auto& params) {
    launch_softmax_cross_entropy(params, call.stream());
  });
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("softmax_cross_entropy_", TORCH_BOX(&lexforge::softmax_cross_entropy_cuda));
}
