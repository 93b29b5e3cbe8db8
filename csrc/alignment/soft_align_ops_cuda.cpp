// CUDA binding of soft_align.h. The content of cu_a and cu_b is not looked at here.
#include "alignment/soft_align_binding.h"
#include "common/cuda_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  static void check_lengths(const Checks& check, const SoftAlignShape& shape) {
    for (const auto& [name, longest] : {std::pair{"max_a", shape.max_a}, {"max_b", shape.max_b}}) {
      check.that(longest <= kMaxAlignedLength, name, " must be at most ", kMaxAlignedLength,
                 " on CUDA, got ", longest);
    }
  }

  template <typename scalar_t, typename stat_t>
  void run(const SoftAlignParams<scalar_t, stat_t>& params) const {
    launch_soft_align(params, stream());
  }

  template <typename scalar_t, typename stat_t>
  void run(const SoftAlignBackwardParams<scalar_t, stat_t>& params) const {
    launch_soft_align_backward(params, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("soft_align", TORCH_BOX(&lexforge::soft_align<lexforge::Cuda>));
  m.impl("soft_align_backward", TORCH_BOX(&lexforge::soft_align_backward<lexforge::Cuda>));
}
