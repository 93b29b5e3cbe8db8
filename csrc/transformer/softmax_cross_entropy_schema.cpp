#include "common/binding.h"

// In place: logits become their gradient. (loss [R], correct int64 [R]).
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "softmax_cross_entropy_(Tensor(a!) logits, Tensor? bias, Tensor labels, Tensor scale, "
      "bool gradient) -> (Tensor, Tensor)");
}
