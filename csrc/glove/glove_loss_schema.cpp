#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "glove_loss(Tensor word, Tensor context, Tensor word_bias, Tensor context_bias, Tensor rows, "
      "Tensor cols, Tensor counts, float x_max, float alpha) -> (Tensor, Tensor)");
  m.def(
      "glove_loss_backward(Tensor grad_loss, Tensor slope, Tensor word, Tensor context, "
      "Tensor rows, Tensor cols) -> (Tensor, Tensor, Tensor, Tensor)");
}
