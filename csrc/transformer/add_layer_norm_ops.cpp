// CPU binding of add_layer_norm.h.
#include "common/cpu_binding.h"
#include "transformer/add_layer_norm_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 16384;

// A group has at least so many rows, and there are at most so many groups.
constexpr int64_t kRowsPerGroup = 16;
constexpr int64_t kMaxGroups = 64;

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  static int64_t groups(int64_t rows, int64_t /*dim*/) {
    return std::clamp<int64_t>(rows / kRowsPerGroup, 1, kMaxGroups);
  }

  template <typename scalar_t, typename stat_t>
  void run(const AddLayerNormParams<scalar_t, stat_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE(add_layer_norm<scalar_t, stat_t>);
    auto* workspace = LEXFORGE_CHOOSE(add_layer_norm_workspace<stat_t>);
    constexpr int64_t kRows = kAddLayerNormRows;
    parallel_with_scratch(
        "add_layer_norm", (params.rows + kRows - 1) / kRows, kNumbersPerTask / (kRows * params.dim),
        workspace(params.dim), [&](int64_t first, int64_t last, void* memory) {
          kernel(params, kRows * first, std::min(params.rows, kRows * last), memory);
        });
  }

  template <typename scalar_t, typename stat_t>
  void run(const AddLayerNormBackwardParams<scalar_t, stat_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE(add_layer_norm_backward<scalar_t, stat_t>);
    auto* join = LEXFORGE_CHOOSE(add_layer_norm_join<scalar_t, stat_t>);
    auto* workspace = LEXFORGE_CHOOSE(add_layer_norm_workspace<stat_t>);
    const int64_t numbers = std::max<int64_t>(1, params.rows / params.groups * params.dim);
    parallel_with_scratch(
        "add_layer_norm_backward", params.groups, kNumbersPerTask / numbers, workspace(params.dim),
        [&](int64_t first, int64_t last, void* memory) { kernel(params, first, last, memory); });
    parallel_for(0, params.dim, std::max<int64_t>(64, kNumbersPerTask / params.groups),
                 [&](int64_t first, int64_t last) { join(params, first, last); });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("add_layer_norm", TORCH_BOX(&lexforge::add_layer_norm<lexforge::Cpu>));
  m.impl("add_layer_norm_backward", TORCH_BOX(&lexforge::add_layer_norm_backward<lexforge::Cpu>));
  m.impl("add_layer_norm_sum", TORCH_BOX(&lexforge::add_layer_norm_sum<lexforge::Cpu>));
  m.impl("add_layer_norm_sum_backward",
         TORCH_BOX(&lexforge::add_layer_norm_sum_backward<lexforge::Cpu>));
}
