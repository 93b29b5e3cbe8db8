#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "classify_train_(Tensor(a!) in_table, Tensor(b!) out_table, Tensor(c!) stats, Tensor tokens, "
      "Tensor offsets, Tensor label_ids, Tensor label_offsets, Tensor bag_offsets, Tensor "
      "bag_rows, "
      "Tensor hashes, Tensor bucket_rows, Tensor noise, Tensor path_offsets, Tensor paths, "
      "int first_line, int last_line, int words, int buckets, int word_ngrams, int loss, "
      "int negatives, float alpha, float min_alpha, int tokens_before, int total_tokens, int seed, "
      "int epoch, int threads) -> ()");
}
