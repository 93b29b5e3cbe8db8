#include "common/binding.h"

// weight [V, D] and gradients [N, D] of one dtype, ids int32 [N], state and flags as in
// row_update.h; contiguous. What a rule has no use for is missing.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "row_update_(Tensor(a!) weight, Tensor(b!)? first, Tensor(c!)? second, "
      "Tensor(d!)? touched, Tensor ids, Tensor gradients, str rule, float lr, "
      "float weight_decay, float decay1, float fresh1, float decay2, float fresh2, "
      "float epsilon) -> ()");
}
