// CPU binding of softmax_cross_entropy.h.
#include <algorithm>
#include <type_traits>

#include "common/cpu_capability.h"
#include "transformer/softmax_cross_entropy_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 32768;

std::tuple<Tensor, Tensor> softmax_cross_entropy_cpu(const Tensor& logits,
                                                     const OptionalTensor& bias,
                                                     const Tensor& labels, const Tensor& scale,
                                                     bool gradient) {
  return softmax_cross_entropy_with(
      logits, bias, labels, scale, gradient,
      [&]<typename scalar_t, typename stat_t>(
          const SoftmaxCrossEntropyParams<scalar_t, stat_t>& params) {
        const int64_t rows = params.rows, classes = params.classes;
        for (int64_t r = 0; r < rows; ++r) {
          STD_TORCH_CHECK(
              params.scale[r] == 0 || (0 <= params.labels[r] && params.labels[r] < classes),
              "softmax_cross_entropy_: labels must be in [0, ", classes, "), got ",
              params.labels[r], " in row ", r);
        }
        auto* kernel = choose(&baseline::softmax_cross_entropy<scalar_t, stat_t>,
                              &avx2::softmax_cross_entropy<scalar_t, stat_t>,
                              &avx512::softmax_cross_entropy<scalar_t, stat_t>);
        // Parts of equal size, each with a workspace of its own.
        const int64_t parts = std::clamp<int64_t>(rows * classes / kNumbersPerTask, 1,
                                                  torch::stable::get_num_threads());
        const bool works_elsewhere = !std::is_same_v<scalar_t, stat_t>;
        const Tensor workspace =
            torch::stable::new_empty(scale, {works_elsewhere ? parts * classes : 0});
        torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
          kernel(params, rows * first / parts, rows * last / parts,
                 data<stat_t>(workspace) + (works_elsewhere ? first * classes : 0));
        });
      });
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("softmax_cross_entropy_", TORCH_BOX(&lexforge::softmax_cross_entropy_cpu));
}
