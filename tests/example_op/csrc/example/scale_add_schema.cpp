#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def("scale_add_(Tensor(a!) y, Tensor x, float a) -> ()");
}
