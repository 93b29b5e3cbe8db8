#include "common/binding.h"

// q, k, v: [T, H, D] with cu_seqlens, or [B, S, H, D]; any strides but unit stride in D. The
// results are contiguous: (out, lse [T, H] or [B, S, H]), and gradients of q, k, v.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "attention(Tensor q, Tensor k, Tensor v, Tensor? cu_seqlens, Tensor? valid_lens, "
      "Tensor? seed, int max_seqlen, bool causal, float dropout_p, float scale) "
      "-> (Tensor, Tensor)");
  m.def(
      "attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
      "Tensor? cu_seqlens, Tensor? valid_lens, Tensor? seed, int max_seqlen, bool causal, "
      "float dropout_p, float scale) -> (Tensor, Tensor, Tensor)");
}
