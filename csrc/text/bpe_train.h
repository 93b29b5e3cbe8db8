// Byte pair encoding, learned: again and again the pair of neighbours that is most frequent in the
// words of a corpus becomes a symbol of its own.
//
// The distinct words lie one behind the other as cells; a symbol of several characters has its
// number in its first cell and its length in the second and the last one. Of each pair it is known
// how often it occurs (in 64 bits) and in which cells it began when it was counted; a merge visits
// these, and of pairs only those change whose symbols it touches. A heap holds pairs by counts that
// may be out of date: counts only fall, and what comes up with an old one goes back with the new.
// A pair that is rarer than a threshold is not kept: its count would fall only. Where no other is
// left the threshold falls, to min_frequency at last, and all pairs are counted anew.
//
// Time and memory grow with the distinct words, not with the corpus.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/pair_table.h"
#include "text/word_table.h"

namespace lexforge::text {

// Which of the most frequent pairs is merged.
enum class TieRule : int {
  kFirst,        // the one that stands first in the words as they are, by first appearance
  kSmallestIds,  // of the smallest number of the first symbol, then of the second
  kLexical,      // whose symbols come first by code points
  kLexicalLast,  // whose symbols come last
};

struct BpeOptions {
  bool bytes = false;  // symbols are of bytes, not of characters
  uint64_t vocab_size = 0;
  uint64_t max_merges = UINT64_MAX;
  int64_t min_frequency = 0;
  TieRule ties = TieRule::kSmallestIds;
  uint64_t max_token_length = UINT64_MAX;  // in characters; longer ones are not made
  uint64_t limit_alphabet = UINT64_MAX;    // characters kept, the most frequent ones
  std::string prefix;                      // of characters that do not begin a word
  std::string suffix;                      // of the character that ends one
  std::string ending;                      // a symbol of its own behind each word
  std::vector<std::string> special;        // the first symbols
  std::vector<std::string> alphabet;       // characters that are kept, and there, in any case
};

class BpeTrainer {
 public:
  struct Word {
    std::string_view text;
    int64_t count;
  };
  struct Merge {
    int32_t left, right, merged;
    int64_t count;
  };

  // The words are distinct, in the order of their first appearance, and are read only here. Symbols
  // are numbered: special ones, characters by code point (bytes by GPT-2's), merges.
  BpeTrainer(BpeOptions options, const std::vector<Word>& words);

  // Makes at most so many merges more; false when there are no more to make.
  bool step(uint64_t merges);

  const std::vector<std::string>& symbols() const { return symbols_; }
  const std::vector<Merge>& merges() const { return merges_; }

 private:
  struct Pair {
    int64_t count;
    uint32_t* places;  // ascending
    uint32_t number;
  };
  struct Candidate {
    int64_t count;
    uint64_t order;  // smaller first
    uint32_t pair;
  };
  struct Comes {  // later
    const BpeTrainer* trainer;
    bool operator()(const Candidate& a, const Candidate& b) const;
  };
  struct Touched {
    uint32_t side;  // 2 * the symbol beside the new one, + 1 where that comes behind
    uint32_t place;
  };
  struct Fresh {
    int64_t count = 0;
    uint32_t pair = PairTable::kAbsent;
  };

  static constexpr int32_t kAll = -1;  // no symbol
  // A cell holds a symbol; or less than 0, the length of the symbol that it is inside of; or at most
  // kEdge, being before a word, that less the word's number.
  static constexpr int32_t kEdge = -(1 << 30);

  static uint64_t key(int32_t a, int32_t b) {
    return static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b);
  }
  int32_t left_of(uint64_t key) const { return static_cast<int32_t>(key >> 32); }
  int32_t right_of(uint64_t key) const { return static_cast<int32_t>(key & 0xFFFFFFFF); }

  int32_t add_symbol(std::string text, uint32_t length);
  void make_alphabet(const std::vector<Word>& words);
  void make_cells(const std::vector<Word>& words);
  void count_pairs(int32_t symbol);
  bool count_more();
  bool allowed(int32_t a, int32_t b) const {
    return lengths_[a] + lengths_[b] < options_.max_token_length;
  }
  uint32_t next_of(uint32_t place) const {  // symbol's; or the edge
    const int32_t inside = cells_[place + 1];
    return place + (inside < 0 && inside > kEdge ? -inside : 1);
  }
  uint32_t before(uint32_t place) const {
    const int32_t last = cells_[place - 1];
    return place - (last < 0 && last > kEdge ? -last : 1);
  }
  int64_t count_at(uint32_t place) const {  // of the word
    while (cells_[place] > kEdge) place = before(place);
    return counts_[kEdge - cells_[place]];
  }
  bool is_at(uint64_t key, uint32_t place) const {
    return cells_[place] == left_of(key) && cells_[next_of(place)] == right_of(key);
  }
  int64_t least() const { return std::max<int64_t>(options_.min_frequency, 1); }
  template <typename Visit>
  void each_pair(const Visit& visit) const;
  uint32_t* room(size_t places);
  uint64_t order_of(uint32_t pair);
  void push(uint32_t pair);
  void merge(uint32_t pair);

  const BpeOptions options_;
  std::vector<std::string> symbols_;
  std::vector<uint32_t> lengths_;  // in characters
  std::unordered_map<std::string, int32_t> index_;
  std::vector<bool> made_;  // symbols that merges made
  std::vector<int32_t> cells_;
  std::vector<int64_t> counts_;  // of words
  int64_t threshold_ = 0;        // 0: nothing is counted yet
  PairTable table_;              // values are unused: the numbers index pairs_
  std::vector<Pair> pairs_;
  std::vector<Touched> touched_;  // by one merge
  std::vector<Fresh> fresh_;      // by Touched::side; as at first between merges
  std::vector<std::unique_ptr<uint32_t[]>> arena_;
  uint32_t* arena_next_ = nullptr;
  size_t arena_left_ = 0;
  std::priority_queue<Candidate, std::vector<Candidate>, Comes> queue_;
  std::vector<Merge> merges_;
};

// The character that stands for a byte in GPT-2's files.
constexpr uint32_t gpt2_character(uint8_t byte) {
  const auto itself = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  if (itself(byte)) return byte;
  uint32_t character = 256;
  for (int b = 0; b < byte; ++b) character += !itself(b);
  return character;
}

}  // namespace lexforge::text
