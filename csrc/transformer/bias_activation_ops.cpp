// CPU binding of bias_activation.h.
#include "common/cpu_binding.h"
#include "transformer/bias_activation_binding.h"
#include "transformer/group_sums.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 8192;

int64_t rows_per_task(int64_t width) {
  return std::max<int64_t>(1, kNumbersPerTask / std::max<int64_t>(1, width));
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t, typename stat_t>
  void run(const BiasActivationParams<scalar_t, stat_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE(bias_activation<scalar_t, stat_t>);
    parallel_for(0, params.rows, rows_per_task(params.width),
                 [&](int64_t first, int64_t last) { kernel(params, first, last); });
  }

  template <typename scalar_t, typename stat_t>
  void run(const BiasActivationBackwardParams<scalar_t, stat_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE(bias_activation_backward<scalar_t, stat_t>);
    const int64_t groups = bias_groups(params.rows);
    parallel_for(0, groups, (rows_per_task(params.width) + kBiasGroup - 1) / kBiasGroup,
                 [&](int64_t first, int64_t last) { kernel(params, first, last); });
    if (params.grad_bias == nullptr) return;
    const int64_t columns = std::max<int64_t>(64, kNumbersPerTask / std::max<int64_t>(1, groups));
    parallel_for(0, params.width, columns, [&](int64_t first, int64_t last) {
      sum_groups(params.partial, groups, params.width, first, last, params.grad_bias);
    });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("bias_activation", TORCH_BOX(&lexforge::bias_activation<lexforge::Cpu>));
  m.impl("bias_activation_backward", TORCH_BOX(&lexforge::bias_activation_backward<lexforge::Cpu>));
}
