// CPU binding of dropout.h.
#include "common/cpu_binding.h"
#include "transformer/dropout_binding.h"

namespace lexforge {
namespace {

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  void run(const DropoutParams<scalar_t>& params) const {
    void (*kernel)(const DropoutParams<scalar_t>&, int64_t, int64_t) =
        LEXFORGE_CHOOSE(dropout<scalar_t>);
    parallel_for(0, (params.count + kDropoutBlock - 1) / kDropoutBlock, 4,
                 [&](int64_t first, int64_t last) { kernel(params, first, last); });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("dropout", TORCH_BOX(&lexforge::dropout<lexforge::Cpu>));
}
