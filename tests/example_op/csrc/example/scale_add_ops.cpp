// CPU binding of scale_add_.
#include "common/cpu_binding.h"
#include "example/scale_add_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kElementsPerTask = 8192;

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  void run(const ScaleAddParams& params) const {
    auto* kernel = LEXFORGE_CHOOSE(scale_add);
    parallel_for(0, params.count, kElementsPerTask,
                 [&](int64_t first, int64_t last) { kernel(params, first, last); });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("scale_add_", TORCH_BOX(&lexforge::scale_add<lexforge::Cpu>));
}
