#include "common/binding.h"

// gates [R, D * 4 * H], index int32 [T] or none, w_hh [D, 4 * H, H], cu_seqlens int32 [B + 1].
// Results: (out [T, D * H], h_n [B, D * H], c_n [B, D * H], activated [T, D * 4 * H], cells
// [T, D * H]), the last two without rows unless they are to be saved. Backward: grad_gates
// [T, D * 4 * H].
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "lstm(Tensor gates, Tensor? index, Tensor w_hh, Tensor cu_seqlens, bool save) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "lstm_backward(Tensor? grad_out, Tensor? grad_h, Tensor? grad_c, Tensor w_hh, "
      "Tensor cu_seqlens, Tensor activated, Tensor cells) -> Tensor");
}
