#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "word2vec_train_(Tensor(a!) in_table, Tensor(b!) out_table, Tensor(c!) tree_table, "
      "Tensor(d!) stats, Tensor tokens, Tensor offsets, Tensor keep, Tensor in_scale, "
      "Tensor noise, Tensor path_offsets, Tensor paths, int longest_path, Tensor bag_offsets, "
      "Tensor bag_rows, int longest_bag, bool bag_mean, int first_sentence, "
      "int last_sentence, bool cbow, bool cbow_mean, int window, int negatives, bool "
      "dynamic_window, "
      "bool share_negatives, int together, int shards, int shard_tokens, float alpha, float "
      "min_alpha, int tokens_before, "
      "int total_tokens, int seed, int epoch, int threads) -> ()");
}
