#include "common/binding.h"

// Tensors of one kind in each list, in one order: parameters, their gradients, both moments, and
// their steps, float32 of one number. `decoupled`: AdamW's decay.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "adam_step_(Tensor(a!)[] parameters, Tensor(b!)[] gradients, Tensor(c!)[] first, "
      "Tensor(d!)[] second, Tensor(e!)[] steps, float[] decays, float lr, float beta1, "
      "float beta2, float epsilon, float clip, bool decoupled) -> ()");
}
