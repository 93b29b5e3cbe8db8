// CPU binding of glove_loss.h.
#include "common/cpu_binding.h"
#include "common/owned_groups.h"
#include "glove/glove_loss_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kEntriesPerTask = 256;
constexpr int64_t kCostPerTask = 1024;
constexpr int64_t kCostPerGroup = 4;

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  void run(const GloveLossParams<scalar_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE(glove_loss<scalar_t>);
    parallel_for(0, params.entries, kEntriesPerTask,
                 [&](int64_t first, int64_t last) { kernel(params, first, last); });
  }

  template <typename scalar_t>
  void run(const GloveLossSide<scalar_t>& side, const Tensor& ids, const Tensor& table) const {
    auto* kernel = LEXFORGE_CHOOSE(glove_loss_grad<scalar_t>);
    const OwnedGroups owned(data<const int32_t>(ids), ids.numel(), table.size(0), false,
                            [](int64_t) { return true; });
    const RowGroups& groups = owned.groups;
    for_groups(groups.begin, groups.count, kCostPerGroup, kCostPerTask,
               [&](int64_t first, int64_t last) { kernel(side, groups, first, last); });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("glove_loss", TORCH_BOX(&lexforge::glove_loss<lexforge::Cpu>));
  m.impl("glove_loss_backward", TORCH_BOX(&lexforge::glove_loss_backward<lexforge::Cpu>));
}
