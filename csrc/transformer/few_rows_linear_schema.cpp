#include "common/binding.h"

// x [M, K], weight [N, K], bias [N]; contiguous. Returns [M, N].
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def("few_rows_linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
}
