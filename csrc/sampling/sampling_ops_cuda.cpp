// CUDA binding of sampling.h. The values of weights and offsets are looked at by the Python wrapper
// only; whatever they are, the kernels stay inside their arrays.
#include "common/cuda_binding.h"
#include "sampling/sampling_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t>
  void build(const Checks&, const Tensor& like, const scalar_t* weights, AliasEntry* table) const {
    const int64_t size = like.size(0);
    const Tensor shares = new_empty(like, {build_alias_scratch_shares(size)}, ScalarType::Long);
    const Tensor order = new_empty(like, {build_alias_scratch_order(size)}, ScalarType::Int);
    launch_build_alias(weights, size, data<uint64_t>(shares), data<int32_t>(order), table,
                       stream());
  }

  template <typename index_t>
  void run(const AliasSampleParams& params, int64_t count, index_t* out) const {
    launch_alias_sample(params, count, out, stream());
  }

  void check_offsets(const Checks&, const SampleNoiseParams&) const {}
  void run(const SampleNoiseParams& params) const { launch_sample_noise(params, stream()); }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("build_alias", TORCH_BOX(&lexforge::build_alias<lexforge::Cuda>));
  m.impl("alias_sample", TORCH_BOX(&lexforge::alias_sample<lexforge::Cuda>));
  m.impl("sample_noise", TORCH_BOX(&lexforge::sample_noise<lexforge::Cuda>));
}
