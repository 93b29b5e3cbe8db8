#include "common/binding.h"

// x, residual, grad_y: [N, H] contiguous. Results: (y, mean [N], rstd [N]); (grad_x, grad_residual,
// grad_weight, grad_bias, grad_x_bias), of which grad_residual is [0, H] where there is no residual
// and grad_x_bias [0] where there is no x_bias. With the sum: (sum, y, mean, rstd), and grad_x is
// [0, H] without dropout, where it is grad_residual.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "add_layer_norm(Tensor x, Tensor? residual, Tensor? x_bias, Tensor weight, Tensor bias, "
      "Tensor? seed, float eps, float dropout_p) -> (Tensor, Tensor, Tensor)");
  m.def(
      "add_layer_norm_backward(Tensor grad_y, Tensor x, Tensor? residual, Tensor? x_bias, "
      "Tensor weight, Tensor mean, Tensor rstd, Tensor? seed, float dropout_p) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "add_layer_norm_sum(Tensor x, Tensor residual, Tensor? x_bias, Tensor weight, Tensor bias, "
      "Tensor? seed, float eps, float dropout_p) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "add_layer_norm_sum_backward(Tensor? grad_sum, Tensor grad_y, Tensor sum, bool with_x_bias, "
      "Tensor weight, Tensor mean, Tensor rstd, Tensor? seed, float dropout_p) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
