// lexforge::cpu_capability: which build of the CPU kernels is in use (0 baseline, 1 AVX2, 2
// AVX-512).
#include "common/check.h"
#include "common/cpu_capability.h"

namespace {

int64_t cpu_capability() { return static_cast<int64_t>(lexforge::cpu_capability()); }

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) { m.def("cpu_capability() -> int"); }

STABLE_TORCH_LIBRARY_IMPL(lexforge, CompositeExplicitAutograd, m) {
  m.impl("cpu_capability", TORCH_BOX(&cpu_capability));
}
