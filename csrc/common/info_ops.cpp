// lexforge::cpu_capability: which build of the CPU kernels is in use (0 baseline, 1 AVX2, 2
// AVX-512). lexforge::cpu_has_bf16: whether it multiplies bfloat16 by instructions of the
// processor. lexforge::cpu_has_tiles: and tiles of it.
#include "common/binding.h"
#include "common/cpu_capability.h"

namespace {

int64_t cpu_capability() { return static_cast<int64_t>(lexforge::cpu_capability()); }
bool cpu_has_bf16() { return lexforge::cpu_has_bf16(); }
bool cpu_has_tiles() { return lexforge::cpu_has_tiles(); }

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def("cpu_capability() -> int");
  m.def("cpu_has_bf16() -> bool");
  m.def("cpu_has_tiles() -> bool");
}

STABLE_TORCH_LIBRARY_IMPL(lexforge, CompositeExplicitAutograd, m) {
  m.impl("cpu_capability", TORCH_BOX(&cpu_capability));
  m.impl("cpu_has_bf16", TORCH_BOX(&cpu_has_bf16));
  m.impl("cpu_has_tiles", TORCH_BOX(&cpu_has_tiles));
}
