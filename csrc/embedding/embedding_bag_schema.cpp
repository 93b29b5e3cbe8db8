#include "common/binding.h"

// Ids are int32: [N] with offsets, int64 [B + 1], or [B, L] without. per_sample_weights are float32
// (float64 with a float64 table). Modes: lookup (L is 1), sum, mean, max. padding_idx is -1 for
// none. Results: (out [B, D], choice int32 [B, D] of a maximum, scale [B] of a mean), the others
// empty. scale_grad_by_freq and sparse are the backward's.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "embedding_bag(Tensor table, Tensor ids, Tensor? offsets, Tensor? per_sample_weights, "
      "str mode, int padding_idx, bool scale_grad_by_freq, bool sparse) "
      "-> (Tensor, Tensor, Tensor)");
  m.def(
      "embedding_bag_backward(Tensor grad_out, Tensor ids, Tensor? offsets, "
      "Tensor? per_sample_weights, Tensor choice, Tensor scale, str mode, int padding_idx, "
      "bool scale_grad_by_freq, int rows) -> Tensor");
  m.def(
      "embedding_bag_weights_backward(Tensor grad_out, Tensor table, Tensor ids, Tensor? offsets, "
      "int padding_idx) -> Tensor");
  m.def("embedding_renorm_(Tensor(a!) table, Tensor ids, float max_norm, float norm_type) -> ()");
}
