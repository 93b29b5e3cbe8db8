#include "common/binding.h"
#include "word2vec/word2vec_train_cpu.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "word2vec_train_(Tensor(a!) in_table, Tensor(b!) out_table, Tensor(c!) tree_table, "
      "Tensor(d!) stats, Tensor(e!) shard_rows, Tensor tokens, Tensor offsets, Tensor keep, Tensor "
      "in_scale, "
      "Tensor noise, Tensor path_offsets, Tensor paths, int longest_path, Tensor bag_offsets, "
      "Tensor bag_rows, int longest_bag, bool bag_mean, int first_sentence, "
      "int last_sentence, bool cbow, bool cbow_mean, int window, int negatives, bool "
      "dynamic_window, "
      "bool share_negatives, int together, int shards, int shard_tokens, float alpha, float "
      "min_alpha, int tokens_before, "
      "int total_tokens, int seed, int epoch, int threads) -> ()");
  m.def(
      "word2vec_shard_bytes(int in_rows, int out_rows, int tree_rows, int stride, bool "
      "bfloat16) -> int");
}

STABLE_TORCH_LIBRARY_IMPL(lexforge, CompositeExplicitAutograd, m) {
  m.impl("word2vec_shard_bytes", TORCH_BOX(&lexforge::word2vec_shard_bytes));
}
