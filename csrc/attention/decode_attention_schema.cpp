#include "common/binding.h"

// q, k, v: [B, H, D], any strides but unit stride in D; k and v both or neither. The caches are
// [B, H, C, D], lengths int32 [B]. Returns [B, H, D].
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "decode_attention_(Tensor q, Tensor? k, Tensor? v, Tensor(a!) k_cache, Tensor(b!) v_cache, "
      "Tensor lengths, float scale) -> Tensor");
}
