// Windows of bags: the rows that they gather and change, and the lists of their targets.
#pragma once

#include "word2vec/cuda/targets.cuh"

namespace lexforge::word2vec {

// What skip-gram predicts are the contexts, from the centre's bag; what CBOW predicts is the
// centre, from the bags of the contexts.
__device__ __forceinline__ int32_t predicted_words(const Window& window) {
  return window.params.cbow ? 1 : window.contexts;
}
__device__ __forceinline__ int32_t predicted_word(const Window& window, int32_t j) {
  return window.params.cbow ? window.center : window.context(j);
}

// Lists of numbers below `limit`, one for each word, of `least` to `most` of them.
struct ListsOfWords {
  const int64_t* offsets;
  const int32_t* entries;
  int64_t size;
  int32_t least, most;
  uint32_t limit;
};

// Takes the lists of `words` words, number j of which is word_at(j), as one list in order, and
// calls visit(entry, place, count) for 32 entries at a time, one a lane, `count` of which there
// are: the others are -1. `place` is the entry's in its word's list. The next entries are on their
// way meanwhile. Returns how many there are, or -1, having stopped, where a list is not allowed.
template <typename WordAt, typename Visit>
__device__ __forceinline__ int32_t for_each_entry(const ListsOfWords& lists, int32_t words,
                                                  int lane, WordAt word_at, Visit visit) {
  int32_t all = 0;
#pragma unroll 1
  for (int32_t base = 0; base < words; base += kWarp) {
    const int32_t here = min(words - base, kWarp);
    int64_t begin = 0, end = 0;  // of this lane's word
    bool bad = false;
    if (lane < here) {
      const int32_t word = word_at(base + lane);
      begin = lists.offsets[word];
      end = lists.offsets[word + 1];
      bad = begin < 0 || end - begin < lists.least || end - begin > lists.most || end > lists.size;
    }
    if (__any_sync(kAllLanes, bad)) return -1;
    const auto length = static_cast<int32_t>(end - begin);
    int32_t until = length;  // entries of this lane's word and those before
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int32_t before = __shfl_up_sync(kAllLanes, until, step);
      if (lane >= step) until += before;
    }
    const int32_t sum = __shfl_sync(kAllLanes, until, kWarp - 1);
    int32_t entry = -1, place = 0;
    const auto read = [&](int32_t n) {
      int32_t of = 0;
#pragma unroll 1
      for (int32_t j = 0; j < here - 1; ++j) of += __shfl_sync(kAllLanes, until, j) <= n;
      place = n - __shfl_sync(kAllLanes, until - length, of);
      const int64_t first = __shfl_sync(kAllLanes, begin, of);
      entry = n < sum ? lists.entries[first + place] : -1;
    };
    read(lane);
#pragma unroll 1
    for (int32_t n = 0; n < sum; n += kWarp) {
      const int32_t count = min(sum - n, kWarp), mine = entry, place_of_mine = place;
      bad = lane < count && static_cast<uint32_t>(mine) >= lists.limit;
      if (__any_sync(kAllLanes, bad)) return -1;
      if (n + kWarp < sum) read(n + kWarp + lane);
      visit(mine, place_of_mine, count);
    }
    all += sum;
  }
  return all;
}

// The rows of the window's bags.
template <typename Visit>
__device__ __forceinline__ int32_t for_each_bag_row(const Window& window, int lane, Visit visit) {
  const Word2vecTrainParams<float>& params = window.params;
  const ListsOfWords bags{params.bag_offsets, params.bag_rows,
                          params.bag_count,   1,
                          params.longest_bag, static_cast<uint32_t>(params.in_rows)};
  return for_each_entry(
      bags, params.cbow ? window.contexts : 1, lane,
      [&](int32_t j) { return params.cbow ? window.context(j) : window.center; }, visit);
}

// A target and how often the window has it: `positives` times as what is predicted, `negatives`
// times as a noise word, or as an inner node where a path turns left or right. Of a node, how far
// it is from the root, up to kDeepest, where share_of_node() is 1 for any number of pairs.
struct alignas(8) BagTarget {
  int32_t row;
  uint32_t value;

  // 2 * 1000 contexts; noise words whose list fits in kWord2vecCudaMaxWarpBytes.
  static constexpr int kPositiveBits = 11, kNegativeBits = 15;
  static constexpr uint32_t kNegative = 1u << kPositiveBits;
  static constexpr int kDepthShift = kPositiveBits + kNegativeBits;
  static constexpr int32_t kDeepest = (1 << (32 - kDepthShift)) - 1;

  __device__ uint32_t positives() const { return value % kNegative; }
  __device__ uint32_t negatives() const { return value / kNegative % (1u << kNegativeBits); }
  __device__ int32_t depth() const { return static_cast<int32_t>(value >> kDepthShift); }
};

// Lists the inner nodes on the paths of what is predicted. Returns their number, or -1 where a path
// is not one that word2vec_train.h allows.
__device__ __forceinline__ int32_t list_paths(const Window& window, BagTarget* list, int lane) {
  const Word2vecTrainParams<float>& params = window.params;
  if (params.tree_table == nullptr) return 0;
  const ListsOfWords paths{params.path_offsets, params.paths,
                           params.path_count,   0,
                           params.longest_path, 2 * static_cast<uint32_t>(params.vocab_size - 1)};
  int32_t size = 0;
  const int32_t all = for_each_entry(
      paths, predicted_words(window), lane, [&](int32_t j) { return predicted_word(window, j); },
      [&](int32_t code, int32_t depth, int32_t) {
        const unsigned left = __ballot_sync(kAllLanes, code % 2 == 0);
        size = add_distinct(
            list, 0, size, code < 0 ? -1 : code / 2, lane,
            [&](unsigned same) -> uint32_t {
              return __popc(same & left) + BagTarget::kNegative * __popc(same & ~left);
            },
            static_cast<uint32_t>(min(depth, BagTarget::kDeepest)) << BagTarget::kDepthShift);
      });
  return all < 0 ? -1 : size;
}

// Lists what is predicted and its noise words. Returns their number. One set of noise words for
// all that is predicted is listed once; one per pair is left out where it equals what it goes with.
__device__ __forceinline__ int32_t list_pairs(const Window& window, BagTarget* list, int lane) {
  const Word2vecTrainParams<float>& params = window.params;
  if (params.out_table == nullptr) return 0;
  const int32_t predicted = predicted_words(window), negatives = params.negatives;
  int32_t size = 0;
  const auto add = [&](int32_t count, uint32_t one, auto row_at) {
    for (int32_t base = 0; base < count; base += kWarp) {
      const int32_t row = base + lane < count ? row_at(base + lane) : -1;
      size = add_distinct(list, 0, size, row, lane,
                          [&](unsigned same) -> uint32_t { return one * __popc(same); });
    }
  };
  add(predicted, 1, [&](int32_t j) { return predicted_word(window, j); });
  add(params.share_negatives ? negatives : predicted * negatives, BagTarget::kNegative,
      [&](int32_t n) {
        const int32_t word = window.drawn(n);
        return !params.share_negatives && word == window.context(n / negatives) ? -1 : word;
      });
  return size;
}

}  // namespace lexforge::word2vec
