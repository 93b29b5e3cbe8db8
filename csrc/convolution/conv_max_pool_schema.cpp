#include "common/binding.h"

// x [U, D], weight [K, C, D] of its dtype, bias float32 (float64 with float64) [C], cu_seqlens int32
// [B + 1], index int32 [T]. Results: out [B, C] of the dtype of x, place int32 [B, C]. Picks, of a
// gradient float32 (float64): row int32 and share, both [K, C, B].
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "conv_max_pool(Tensor x, Tensor cu_seqlens, Tensor weight, Tensor? bias, Tensor? index, "
      "int min_length) -> (Tensor, Tensor)");
  m.def(
      "conv_max_pool_picks(Tensor grad_out, Tensor place, Tensor cu_seqlens, Tensor? index, "
      "int taps) -> (Tensor, Tensor)");
}
