// Runs the kernel of ISA, and its merge after shards, over many shapes, each with memory of exactly the promised
// size filled with zeros and filled with NaNs, and compares the tables bit for bit. For the address
// sanitizer.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <vector>

#include "common/philox.h"
#include "word2vec/word2vec_train_cpu.h"

namespace {

using namespace lexforge;

constexpr int64_t kVocabSize = 50, kGrams = 30, kTokens = 150;

template <typename row_t>
auto* const kTrain = ISA::word2vec_train;
template <>
auto* const kTrain<Bfloat16> = ISA::word2vec_train_bfloat16;
template <typename row_t>
auto* const kMerge = ISA::word2vec_merge;
template <>
auto* const kMerge<Bfloat16> = ISA::word2vec_merge_bfloat16;

template <typename T>
struct Aligned {
  explicit Aligned(size_t count)
      : count(count), start(static_cast<T*>(std::aligned_alloc(64, count * sizeof(T)))) {}
  ~Aligned() { std::free(start); }
  const size_t count;
  T* const start;
};

struct AlignedFloats : Aligned<float> {
  explicit AlignedFloats(size_t bytes) : Aligned<float>(bytes / sizeof(float)) {}
  void fill(float value) { std::fill_n(start, count, value); }
};

struct Result {
  std::vector<float> tables;
  double stats[3] = {};
};

// By one of so many threads, of which the others have nothing to do, or as one shard.
template <typename row_t>
Result run(Word2vecTrainParams<row_t> params, float fill, int64_t threads = 1,
           bool as_shard = false) {
  const size_t elements = static_cast<size_t>(kVocabSize * params.stride);
  const size_t inputs = static_cast<size_t>(params.in_rows * params.stride);
  Aligned<row_t> in(inputs), out(elements), tree(elements);
  const auto number = [](uint32_t word) { return word2vec_stored<row_t>(unit_float(word) - 0.5f); };
  for (size_t i = 0; i < inputs; ++i) {
    const auto quad = philox_at(1, 0, i, RandomStream::kInit, 0);
    in.start[i] = number(quad.word[0]);
    if (i >= elements) continue;
    out.start[i] = number(quad.word[1]);
    tree.start[i] = number(quad.word[2]);
  }
  params.in_table = in.start;
  params.out_table = out.start;
  if (params.paths != nullptr) params.tree_table = tree.start;
  Result result;
  AlignedFloats workspace(word2vec_train_workspace(params, threads));
  workspace.fill(fill);
  if (as_shard) {
    Carver sizes(nullptr);
    ShardRows<row_t>(params, sizes);
    AlignedFloats memory(static_cast<size_t>(sizes.used()));
    memory.fill(fill);
    Carver carve(memory.start);
    ShardRows<row_t> shard(params, carve);
    shard.forget();  // what must be zero
    if (!kTrain<row_t>(params, kTokens, 1, &shard, workspace.start, result.stats)) std::exit(3);
    run_team(2, [&](const TeamMember& member) { kMerge<row_t>(&shard, 1, params.stride, member); });
    for (const auto& table : shard.table) {
      for (int64_t row = 0; row < table.rows; ++row) {
        const row_t *own = table.copy + row * params.stride,
                    *now = table.start + row * params.stride;
        const bool copied = table.times[row] == ShardRows<row_t>::kCopied;
        if ((table.times[row] != 0 && !copied) || table.trained[row / 64] != 0) std::exit(4);
        if (copied && std::memcmp(own, now, params.stride * sizeof(row_t)) != 0) std::exit(5);
      }
    }
  } else if (!kTrain<row_t>(params, kTokens, threads, nullptr, workspace.start, result.stats)) {
    std::exit(2);
  }
  for (const auto* table : {&in, &out, &tree}) {
    for (size_t i = 0; i < table->count; ++i) {
      result.tables.push_back(word2vec_number(table->start[i]));
    }
  }
  return result;
}

}  // namespace

int main() {
  std::vector<int32_t> tokens(kTokens);
  std::vector<float> keep(kVocabSize, 0.9f);
  std::vector<AliasEntry> noise(kVocabSize);
  for (int64_t i = 0; i < kTokens; ++i) {
    tokens[i] =
        static_cast<int32_t>(bounded(philox_word_at(2, 0, i, RandomStream::kInit), kVocabSize));
  }
  for (uint32_t i = 0; i < kVocabSize; ++i) noise[i] = {i << 26, (7 * i) % uint32_t{kVocabSize}};
  const std::vector<int64_t> offsets = {0, 1, 3, 3, 40, 41, 48, kTokens};
  std::vector<int64_t> path_offsets = {0};  // paths of 1 to 14 nodes
  for (int64_t word = 0; word < kVocabSize; ++word) {
    path_offsets.push_back(path_offsets.back() + 1 + word % 14);
  }
  std::vector<int32_t> paths(path_offsets.back());
  for (size_t i = 0; i < paths.size(); ++i) paths[i] = static_cast<int32_t>(i % (2 * 49));
  std::vector<int64_t> bag_offsets = {0};  // bags of 1 to 9 rows
  for (int64_t word = 0; word < kVocabSize; ++word) {
    bag_offsets.push_back(bag_offsets.back() + 1 + word % 9);
  }
  std::vector<int32_t> bag_rows(bag_offsets.back());
  for (size_t i = 0; i < bag_rows.size(); ++i) {
    bag_rows[i] = static_cast<int32_t>(7 * i % (kVocabSize + kGrams));
  }
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  int runs = 0, equal = 0;
  const auto compare = [&](const Result& zeros, const Result& nans) {
    ++runs;
    equal += zeros.tables == nans.tables &&  // false for a NaN
             std::memcmp(zeros.stats, nans.stats, sizeof zeros.stats) == 0;
  };
  const auto try_all = [&]<typename row_t>(std::initializer_list<int64_t> strides) {
    for (const int64_t stride : strides) {
      for (const int32_t window : {1, 8, 70}) {
        for (const int32_t negatives : {0, 1, 5, 6, 20}) {
          for (const int variant : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}) {
            if (variant >= 6 && stride != 48 && stride != 112) continue;  // with bags
            const bool share = variant % 2 != 0;
            Word2vecTrainParams<row_t> params{};
            params.vocab_size = params.in_rows = kVocabSize;
            if (variant >= 6) {
              params.in_rows += kGrams;
              params.bag_offsets = bag_offsets.data();
              params.bag_rows = bag_rows.data();
              params.bag_count = static_cast<int64_t>(bag_rows.size());
              params.longest_bag = 9;
              params.bag_mean = share;
            }
            params.stride = stride;
            params.tokens = tokens.data();
            params.offsets = offsets.data();
            params.last_sentence = static_cast<int64_t>(offsets.size()) - 1;
            params.keep = keep.data();
            params.noise = noise.data();
            params.window = window;
            params.negatives = negatives;
            params.dynamic_window = window != 8;
            params.share_negatives = share;
            if (variant % 6 >= 2) {
              params.path_offsets = path_offsets.data();
              params.paths = paths.data();
              params.path_count = static_cast<int64_t>(paths.size());
              params.longest_path = 14;
            }
            params.cbow = variant % 6 >= 4;
            params.cbow_mean = variant % 6 == 4;
            params.share_negatives |= params.cbow;
            params.alpha = params.min_alpha = 0.02;
            params.total_tokens = kTokens;
            params.seed = 3;
            compare(run(params, 0), run(params, kNan));
            if (negatives == 5) compare(run(params, 0, 4), run(params, kNan, 4));
            if (stride > 64 || window > 8 || negatives > 5) continue;
            compare(run(params, 0), run(params, kNan, 1, true));
          }
        }
      }
    }
  };
  try_all.template operator()<float>({16, 48, 64, 112, 128, 208, 304, 336});
  try_all.template operator()<Bfloat16>({16, 112});
  std::printf("%d of %d runs equal\n", equal, runs);
}
