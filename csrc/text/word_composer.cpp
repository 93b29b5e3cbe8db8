#include "text/word_composer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace lexforge::text {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

void scale(float factor, float* vector, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) vector[i] *= factor;
}

}  // namespace

WordComposer::WordComposer(const WordIndex* index, const SubwordRows& subwords,
                           const MatrixRows& own, const MatrixRows& ngrams, int64_t first,
                           bool mean)
    : index_(index), subwords_(subwords), own_(own), ngrams_(ngrams), first_(first), mean_(mean) {
  if (own.dim != ngrams.dim || ngrams.rows < first + subwords.rows()) {
    throw std::invalid_argument("the rows of words and of n-grams do not go together");
  }
}

void WordComposer::word(std::string_view word, int64_t row, float* vector) const {
  thread_local std::vector<int32_t> rows;
  rows.clear();
  subwords_.add(word, rows);
  for (int32_t& each : rows) {
    if (each >= 0) each += static_cast<int32_t>(first_);
  }
  if (row == kLookUp) row = index_->find(word);
  const bool known = row >= 0;
  std::fill_n(vector, own_.dim, 0.0F);
  if (known) own_.add_to(row, vector);
  ngrams_.add_to(rows, vector);
  const auto count = static_cast<int64_t>(rows.size()) + known;
  if (mean_ && count > 0) scale(1.0F / static_cast<float>(count), vector, own_.dim);
}

void WordComposer::line(std::string_view line, float* vector) const {
  std::vector<float> one(own_.dim);
  int64_t count = 0;
  std::fill_n(vector, own_.dim, 0.0F);
  for (size_t at = 0; (at = line.find_first_not_of(kWhiteSpace, at)) != line.npos;) {
    const size_t end = std::min(line.find_first_of(kWhiteSpace, at), line.size());
    word(line.substr(at, end - at), kLookUp, one.data());
    at = end;
    float squares = 0;
    for (const float number : one) squares += number * number;
    if (!(squares > 0)) continue;
    const float factor = 1.0F / std::sqrt(squares);
    for (int64_t i = 0; i < own_.dim; ++i) vector[i] += one[i] * factor;
    ++count;
  }
  if (count > 0) scale(1.0F / static_cast<float>(count), vector, own_.dim);
}

}  // namespace lexforge::text
