#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "skipgram_loss(Tensor center, Tensor contexts_and_negatives, Tensor mask, Tensor label, "
      "Tensor embed_v, Tensor embed_u) -> (Tensor, Tensor)");
  m.def(
      "skipgram_loss_backward(Tensor grad_loss, Tensor error, Tensor center, "
      "Tensor contexts_and_negatives, Tensor embed_v, Tensor embed_u) -> (Tensor, Tensor)");
  m.def(
      "skipgram_loss_backward_rows(Tensor grad_loss, Tensor error, Tensor center, "
      "Tensor contexts_and_negatives, Tensor embed_v, Tensor embed_u) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
}
