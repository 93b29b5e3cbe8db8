#include "common/binding.h"

// Ids are int32 [T]; tables, norm_weight and norm_bias of one dtype, contiguous. Results:
//   (out [T, H] of `dtype`, mean [T], rstd [T]), the last two empty without a norm;
//   gradients of the tables, norm_weight and norm_bias, empty where there is none.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "embedding_sum(Tensor tokens, Tensor? segments, Tensor positions, Tensor token_table, "
      "Tensor? segment_table, Tensor position_table, Tensor? norm_weight, Tensor? norm_bias, "
      "Tensor? seed, float eps, float dropout_p, ScalarType dtype) -> (Tensor, Tensor, Tensor)");
  m.def(
      "embedding_sum_backward(Tensor grad_out, Tensor tokens, Tensor? segments, Tensor positions, "
      "Tensor token_table, Tensor? segment_table, Tensor position_table, Tensor? norm_weight, "
      "Tensor? seed, Tensor mean, Tensor rstd, float dropout_p) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
