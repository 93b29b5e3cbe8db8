#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "skipgram_train_(Tensor(a!) in_table, Tensor(b!) out_table, Tensor(c!) stats, Tensor tokens, "
      "Tensor offsets, Tensor keep, Tensor noise, int first_sentence, int last_sentence, "
      "int window, int negatives, bool dynamic_window, bool share_negatives, float alpha, "
      "float min_alpha, int tokens_before, int total_tokens, int seed, int epoch, int threads) "
      "-> ()");
}
