// Vectors of words, known or not, of the rows of words and of n-grams (subwords.h).
//
//   a word   the mean, or the sum, of its own row, if it has one, and of those of its n-grams; zeros
//            without any. An n-gram whose row is -1 counts, as one of zeros.
//   a line   the mean over its words, of those with a length, of their vectors at length 1
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/matrix_rows.h"
#include "text/subwords.h"
#include "text/word_entries.h"

namespace lexforge::text {

class WordComposer {
 public:
  static constexpr int64_t kLookUp = -2;  // a word's row is asked of the index

  // Everything is borrowed; `index` may be null where all rows are told. The rows of n-grams in
  // `ngrams` begin at `first`. Throws std::invalid_argument for rows of two sizes, or too few.
  WordComposer(const WordIndex* index, const SubwordRows& subwords, const MatrixRows& own,
               const MatrixRows& ngrams, int64_t first, bool mean);

  // Of a word whose own row is this, -1 for none, or kLookUp: vector [dim].
  void word(std::string_view word, int64_t row, float* vector) const;
  // Of the words of a line, between the white space of C: vector [dim].
  void line(std::string_view line, float* vector) const;

 private:
  const WordIndex* index_;
  const SubwordRows& subwords_;
  const MatrixRows own_, ngrams_;
  const int64_t first_;
  const bool mean_;
};

}  // namespace lexforge::text
