#include "common/binding.h"

// Of some blocks, one after another, N of them: `out` and `normed_out` [N, T, H], `saved`,
// `statistics` and `grads` [N, ...] as causal_block.h lays them out. Each block has three seeds, of
// the dropout of attention and of the two sums, twelve parameters, of which biases may be left out,
// and two eps. Both return whether the results are right; else they hold anything.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "causal_block_(Tensor(a!) out, Tensor(b!) normed_out, Tensor(c!) saved, "
      "Tensor(d!) statistics, Tensor x, Tensor normed, Tensor cu_seqlens, Tensor?[] seeds, "
      "Tensor?[] parameters, int heads, int max_seqlen, int activation, float dropout_p, "
      "float[] eps) -> bool");
  m.def(
      "causal_block_backward_(Tensor(a!) grad_x, Tensor(b!) grad_normed, Tensor(c!) grads, "
      "Tensor? grad_out, Tensor grad_normed_out, Tensor out, Tensor normed_out, Tensor saved, "
      "Tensor statistics, Tensor normed, Tensor cu_seqlens, Tensor?[] seeds, "
      "Tensor?[] parameters, int heads, int max_seqlen, int activation, float dropout_p) -> bool");
}
