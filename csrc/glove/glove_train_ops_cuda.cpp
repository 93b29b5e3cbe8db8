// CUDA binding of glove_train_.
#include "common/cuda_binding.h"
#include "glove/glove_train_binding.h"
#include "glove/glove_train_cuda.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t>
  void run(const GloveTrainParams<scalar_t>& params, Tensor& stats, int64_t first_round,
           int64_t last_round, bool deterministic, int64_t /*threads*/) const {
    const Tensor scratch = new_empty(stats, {glove_train_scratch(params.tiles.parts)});
    launch_glove_train(params, first_round, last_round, deterministic, data<double>(scratch),
                       data<double>(stats), stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) { m.impl("glove_train_", TORCH_BOX(&lexforge::glove_train<lexforge::Cuda>)); }
