#include "common/binding.h"

// x: [R, H] contiguous. Results: out, and (grad_x, grad_bias [H]; empty without a bias).
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def("bias_activation(Tensor x, Tensor? bias, int activation) -> Tensor");
  m.def(
      "bias_activation_backward(Tensor grad_out, Tensor x, Tensor? bias, int activation) "
      "-> (Tensor, Tensor)");
}
