#include "common/binding.h"

// x: of any shape, contiguous; seed: int64 [1]. The result has the shape of x.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def("dropout(Tensor x, Tensor seed, float dropout_p) -> Tensor");
}
