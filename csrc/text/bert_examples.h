// Sentence pairs with masked words (Devlin et al. 2019, section 3.1), drawn afresh in every epoch.
//
// A corpus is paragraphs of sentences of tokens. Each sentence a, unless it ends its paragraph,
// gives one pair (a, b) per epoch, drawn from quads t = 0, 1, ... of philox_at(seed, epoch, a,
// kExamples, 1 + t):
//
//   word 0 of quad 0 below 2^31    b = a + 1, the next sentence
//   otherwise                      b = sentence bounded(word 2, its sentences) of paragraph
//                                  bounded(word 1, paragraphs), of the first quad where b != a + 1
//
// Pairs of more than max_len - 3 tokens are dropped. The others, n of them in the order of a, are
// shuffled (Fisher and Yates): for j = n - 1, ..., 1 entry j changes places with entry bounded(
// philox_word_at(seed, epoch, j, kExamples), j + 1).
//
// An example is <cls> a <sep> b <sep> with l tokens, of which prediction_count(l) are predicted: a
// subset of the m = l - 3 others, every one equally likely (Floyd; Bentley 1987), from quads i of
// philox_at(seed, epoch, a, kMasking, i):
//
//   for i = 0 .. k - 1:  r = bounded(word 0, m - k + i + 1);  take r, or m - k + i if r is taken
//
// In ascending order, prediction i becomes, by bounded(word 1 of quad i, 10),
//
//   0 .. 7   <mask>
//   8        what it was
//   9        ordinary[bounded(word 2 of quad i, size of ordinary)]
//
// With continues given, whole words are predicted or not: a token that does not go on with the word
// before it begins one, and so does the first one of a sentence. The words, W of them in their order,
// are shuffled from the front, and one that has more tokens than predictions are left is passed over:
//
//   for i = 0 .. W - 1, while predictions are left:  words i and i + bounded(word 0, W - i) change
//   places;  word i is taken if it fits
//
// Predictions for which no word is left have the label -100, at the last index before (or at <cls>).
//
// With static_masks, pairs and masks are those of epoch 0 in every epoch; the order is not.
//
// Everything is a function of (seed, epoch, a): no batch needs those before it, and nothing depends
// on the number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "common/philox.h"

namespace lexforge::text {

struct BertCorpus {
  std::vector<int32_t> tokens;     // [N]
  std::vector<int64_t> sentences;  // [S + 1]: sentence s is tokens sentences[s] .. sentences[s + 1]
  std::vector<int64_t> paragraphs;  // [Q + 1]: likewise, in sentences
};

struct BertRules {
  std::vector<int32_t> ordinary;   // what a random word is drawn from
  std::vector<uint8_t> continues;  // by token, whether it goes on with a word; empty: each is one
  int32_t mask, cls, sep;          // tokens
  int64_t max_len;                 // of an example, special tokens included
  uint64_t seed;
  bool static_masks;
};

// A pair by the numbers of its sentences in the corpus.
struct BertPair {
  uint32_t first, second;
};

struct BertBatchSize {
  int64_t tokens;       // T
  int64_t predictions;  // P
  int64_t longest;      // tokens of the longest example
};

// A batch of B examples, end to end.
struct BertBatch {
  int32_t* tokens;            // [T]
  int32_t* segments;          // [T]      0 for <cls> a <sep>, 1 for b <sep>
  int32_t* positions;         // [T]      from 0 in each example
  int32_t* cu_seqlens;        // [B + 1]  where each example starts, and T
  int64_t* prediction_index;  // [P]      into tokens, ascending
  int64_t* labels;            // [P]      the tokens that stood there; -100: nothing to predict
  int64_t* next_labels;       // [B]      1 where b is the next sentence, else 0
};

// 15 % of the tokens, rounded half to even, and at least one.
constexpr int64_t prediction_count(int64_t tokens) {
  const int64_t whole = 3 * tokens / 20, rest = 3 * tokens % 20;
  const int64_t rounded = whole + (rest > 10 || (rest == 10 && whole % 2 == 1));
  return rounded > 1 ? rounded : 1;
}

class BertExamples {
 public:
  // Throws std::invalid_argument unless offsets ascend strictly (there are no empty sentences or
  // paragraphs), counts fit 32 bits, there is an ordinary token, and some pair of neighbours fits.
  BertExamples(BertCorpus corpus, BertRules rules);

  // The pairs of an epoch, in their order.
  std::vector<BertPair> draw(uint32_t epoch, int threads) const;

  // Examples must come from draw().
  BertBatchSize measure(std::span<const BertPair> examples) const;
  void fill(uint32_t epoch, std::span<const BertPair> examples, const BertBatch& batch,
            int threads) const;

 private:
  // What one thread needs to mask an example.
  struct Scratch {
    std::vector<PhiloxQuad> quads;  // one per prediction
    std::vector<uint64_t> taken;    // bits of the candidates to be predicted
    std::vector<std::pair<int64_t, int64_t>>
        words;  // of the example: their candidates, from and to
  };

  int64_t length(uint32_t sentence) const {
    return corpus_.sentences[sentence + 1] - corpus_.sentences[sentence];
  }
  int64_t length(BertPair pair) const { return length(pair.first) + length(pair.second) + 3; }
  uint32_t drawn_epoch(uint32_t epoch) const { return rules_.static_masks ? 0 : epoch; }
  int64_t take_words(uint32_t epoch, BertPair pair, const int32_t* tokens, Scratch& scratch) const;
  uint32_t second(uint32_t epoch, uint32_t first) const;
  int64_t draw_range(uint32_t epoch, int64_t begin, int64_t end, BertPair* kept) const;
  void write(uint32_t epoch, BertPair pair, int64_t start, int64_t prediction,
             const BertBatch& batch, Scratch& scratch) const;

  const BertCorpus corpus_;
  const BertRules rules_;
};

}  // namespace lexforge::text
