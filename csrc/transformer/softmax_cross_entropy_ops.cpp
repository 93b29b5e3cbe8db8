// CPU binding of softmax_cross_entropy.h.
#include "common/cpu_binding.h"
#include "transformer/softmax_cross_entropy_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 32768;

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t, typename stat_t>
  void run(const SoftmaxCrossEntropyParams<scalar_t, stat_t>& params) const {
    const int64_t rows = params.rows, classes = params.classes;
    for (int64_t r = 0; r < rows; ++r) {
      if (params.scale[r] != 0 && (params.labels[r] < 0 || params.labels[r] >= classes)) {
        fail("softmax_cross_entropy_: labels must be in [0, ", classes, "), got ", params.labels[r],
             " in row ", r);
      }
    }
    auto* kernel = LEXFORGE_CHOOSE(softmax_cross_entropy<scalar_t, stat_t>);
    // Parts of equal size, each with a workspace of its own where logits are not worked on in place.
    const int64_t parts =
        std::clamp<int64_t>(rows * classes / kNumbersPerTask, 1, torch::stable::get_num_threads());
    const int64_t bytes = std::is_same_v<scalar_t, stat_t> ? 0 : classes * sizeof(stat_t);
    parallel_with_scratch(
        "softmax_cross_entropy_", parts, 1, bytes, [&](int64_t first, int64_t last, void* memory) {
          kernel(params, rows * first / parts, rows * last / parts, static_cast<stat_t*>(memory));
        });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("softmax_cross_entropy_", TORCH_BOX(&lexforge::softmax_cross_entropy<lexforge::Cpu>));
}
