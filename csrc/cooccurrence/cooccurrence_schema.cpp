#include "common/binding.h"

// `threads` counts on the CPU only.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "cooccurrence_index(Tensor tokens, Tensor offsets, int first, int last, int vocab_size, "
      "int window, bool cross_sentences, int threads) -> (Tensor, Tensor, Tensor)");
  m.def(
      "cooccurrence_rows(Tensor padded, Tensor starts, Tensor positions, int first_row, "
      "int last_row, int window, bool symmetric, bool distance_weighting, int threads) "
      "-> (Tensor, Tensor, Tensor)");
  m.def(
      "cooccurrence_merge(Tensor[] row_sizes, Tensor[] cols, Tensor[] counts, int vocab_size, "
      "int threads) -> (Tensor, Tensor, Tensor)");
}
