#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "glove_train_(Tensor(a!) word_table, Tensor(b!) context_table, Tensor(c!) stats, int parts, "
      "Tensor tile_begin, Tensor segment_row, Tensor segment_begin, Tensor column, "
      "Tensor log_count, int first_round, int last_round, int dim, str optimizer, "
      "float learning_rate, float bias_rate, float x_max, float alpha, float clip, float beta1, "
      "float beta2, "
      "float epsilon, bool deterministic, int threads) -> ()");
}
