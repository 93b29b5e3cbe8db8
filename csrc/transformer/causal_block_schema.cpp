#include "common/binding.h"

// Both return whether the results are right; else they hold anything. `seed` is of the dropout of
// attention and of the two sums; `saved` and `statistics` are laid out in causal_block.h.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "causal_block_(Tensor(a!) out, Tensor(b!) normed_out, Tensor(c!) saved, "
      "Tensor(d!) statistics, Tensor x, Tensor normed, Tensor cu_seqlens, Tensor? seed, "
      "Tensor? projection_seed, Tensor? contraction_seed, Tensor qkv, Tensor? qkv_bias, "
      "Tensor projection, Tensor? projection_bias, Tensor norm, Tensor? norm_bias, "
      "Tensor expansion, Tensor? expansion_bias, Tensor contraction, Tensor? contraction_bias, "
      "Tensor following, Tensor? following_bias, int heads, int max_seqlen, int activation, "
      "float dropout_p, float eps, float following_eps) -> bool");
  m.def(
      "causal_block_backward_(Tensor(a!) grad_x, Tensor(b!) grad_normed, Tensor(c!) grads, "
      "Tensor? grad_out, Tensor grad_normed_out, Tensor out, Tensor saved, Tensor statistics, "
      "Tensor normed, Tensor cu_seqlens, Tensor? seed, Tensor? projection_seed, "
      "Tensor? contraction_seed, Tensor qkv, Tensor projection, Tensor norm, Tensor expansion, "
      "Tensor? expansion_bias, Tensor contraction, Tensor following, int heads, int max_seqlen, "
      "int activation, float dropout_p) -> bool");
}
