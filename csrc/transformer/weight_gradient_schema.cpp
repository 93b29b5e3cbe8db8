#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "weight_gradient_(Tensor(a!) grad_weight, Tensor(b!)? grad_bias, Tensor grad_out, Tensor x, "
      "bool add) -> ()");
}
