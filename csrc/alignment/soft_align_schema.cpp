#include "common/binding.h"

// f_a: [Ta, H], f_b: [Tb, H], a: [Ta, D], b: [Tb, D]; any strides but unit stride in the last
// dimension. The results are contiguous: (beta, alpha, stats_a [2, Ta], stats_b [2, Tb]), and
// gradients of f_a, f_b, a and b.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "soft_align(Tensor f_a, Tensor f_b, Tensor a, Tensor b, Tensor cu_a, Tensor cu_b, "
      "int max_a, int max_b) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "soft_align_backward(Tensor grad_beta, Tensor grad_alpha, Tensor f_a, Tensor f_b, Tensor a, "
      "Tensor b, Tensor beta, Tensor alpha, Tensor stats_a, Tensor stats_b, Tensor cu_a, "
      "Tensor cu_b, int max_a, int max_b) -> (Tensor, Tensor, Tensor, Tensor)");
}
