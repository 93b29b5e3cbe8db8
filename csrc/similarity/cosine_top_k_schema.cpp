#include "common/binding.h"

// (ids int64 [Q, K], scores float32 [Q, K]).
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "cosine_top_k(Tensor table, Tensor norms, Tensor queries, Tensor? excluded, int first, "
      "int last, int k) -> (Tensor, Tensor)");
}
