#include "text/subwords.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "text/threads.h"

namespace lexforge::text {
namespace {

constexpr int64_t kWordsOfPart = 1024;  // fewer are not worth a thread
constexpr int64_t kFewWords = 64;       // not worth a look at all rows

void wrap(std::string_view word, std::string& wrapped) {
  wrapped.assign(1, '<').append(word).push_back('>');
}

// The numbers 0 .. weights - 1, the heaviest first, of equal ones the first.
std::vector<uint32_t> by_weight(const std::vector<double>& weights) {
  std::vector<uint32_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return weights[a] > weights[b]; });
  return order;
}

}  // namespace

int32_t SubwordRows::BucketTable::add(int32_t bucket, int32_t row) {
  const size_t at = slot_of(bucket);
  if (slots_[at].bucket >= 0) return slots_[at].row;
  slots_[at] = {bucket, row};
  if (2 * ++taken_ > slots_.size()) {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.bucket >= 0) slots_[slot_of(slot.bucket)] = slot;
    }
  }
  return row;
}

SubwordRows::SubwordRows(Kind kind, int32_t min_n, int32_t max_n, int32_t buckets)
    : kind_(kind), min_n_(min_n), max_n_(max_n), buckets_(buckets) {
  if (min_n < 0 || max_n < 0 || buckets < 0) {
    throw std::invalid_argument("min_n, max_n and bucket must be >= 0");
  }
  if (max_n > 0 && (min_n > max_n || (buckets == 0) != (kind == kExplicit))) {
    throw std::invalid_argument("min_n must be <= max_n, and buckets hold what is not explicit");
  }
}

void SubwordRows::give(std::span<const int32_t> keys, const int32_t* rows) {
  const auto count = static_cast<int64_t>(keys.size());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = rows ? rows[i] : rows_ + i;
    if (keys[i] < 0 || keys[i] >= buckets_) {
      throw std::invalid_argument("bucket " + std::to_string(keys[i]) + " is outside 0 .. " +
                                  std::to_string(buckets_ - 1));
    }
    if (row < 0 || row >= rows_ + count) {
      throw std::invalid_argument("row " + std::to_string(row) + " of bucket " +
                                  std::to_string(keys[i]) + " is outside 0 .. " +
                                  std::to_string(rows_ + count - 1));
    }
    if (table_.find(keys[i]) != kZeros) {
      throw std::invalid_argument("bucket " + std::to_string(keys[i]) + " comes twice");
    }
    table_.add(keys[i], static_cast<int32_t>(row));
    keys_.push_back(keys[i]);
  }
  rows_ += count;
}

void SubwordRows::give(const WordSpans& ngrams) {
  for (int64_t i = 0; i < ngrams.count; ++i) ngrams_.add(ngrams[i], hash_word(ngrams[i]), 0);
  rows_ = static_cast<int64_t>(ngrams_.size());
}

void SubwordRows::grow(const WordSpans& words, const int64_t* counts) {
  BucketTable buckets;
  std::vector<int32_t> keys;  // new buckets, in the order of their appearance
  WordTable ngrams;           // or new n-grams
  std::vector<double> weights;
  std::string wrapped;
  for (int64_t word = 0; word < words.count; ++word) {
    if (words[word] == kEndOfLine) continue;
    wrap(words[word], wrapped);
    each_ngram(wrapped, min_n_, max_n_, [&](std::string_view ngram, uint32_t hash) {
      size_t entry;
      if (kind_ == kExplicit) {
        if (ngram.size() == wrapped.size()) return;
        const uint64_t code = hash_word(ngram);
        if (ngrams_.find(ngram, code) != WordTable::kAbsent) return;
        entry = ngrams.add(ngram, code, 0);
      } else {
        const auto bucket = static_cast<int32_t>(hash % static_cast<uint32_t>(buckets_));
        if (rows_ > 0 && table_.find(bucket) != kZeros) return;
        entry = buckets.add(bucket, static_cast<int32_t>(keys.size()));
        if (entry == keys.size()) keys.push_back(bucket);
      }
      if (entry == weights.size()) weights.push_back(0);
      weights[entry] += static_cast<double>(counts[word]);
    });
  }
  for (const uint32_t entry : by_weight(weights)) {
    if (kind_ == kExplicit) {
      ngrams_.add(ngrams[entry].word(), ngrams[entry].hash, 0);
    } else {
      table_.add(keys[entry], static_cast<int32_t>(rows_));
      keys_.push_back(keys[entry]);
    }
    ++rows_;
  }
}

template <typename Take>
void SubwordRows::each_row(const WordSpans& words, int64_t begin, int64_t end,
                           const Take& take) const {
  std::string wrapped;
  // Of explicit rows the word in which each was met; of few words the rows of this word.
  const bool few = end - begin <= kFewWords;
  std::vector<int64_t> last(kind_ == kExplicit && !few ? rows_ : 0, -1);
  std::unordered_set<uint32_t> met;
  for (int64_t word = begin; word < end; ++word) {
    if (words[word] == kEndOfLine) continue;
    wrap(words[word], wrapped);
    met.clear();
    each_ngram(wrapped, min_n_, max_n_, [&](std::string_view ngram, uint32_t hash) {
      if (kind_ == kExplicit) {
        if (ngram.size() == wrapped.size()) return;
        const uint32_t row = ngrams_.find(ngram, hash_word(ngram));
        if (row == WordTable::kAbsent) return;
        if (few ? !met.insert(row).second : std::exchange(last[row], word) == word) return;
        take(word, static_cast<int32_t>(row));
        return;
      }
      const auto bucket = static_cast<int32_t>(hash % static_cast<uint32_t>(buckets_));
      const int32_t row = row_of(bucket);
      if (row != kZeros || kind_ == kHeld) take(word, row);
    });
  }
}

void SubwordRows::add(std::string_view word, std::vector<int32_t>& rows) const {
  const int64_t span[2] = {0, static_cast<int64_t>(word.size())};
  each_row({word.data(), span, 1}, 0, 1, [&](int64_t, int32_t row) { rows.push_back(row); });
}

void SubwordRows::measure(const WordSpans& words, int64_t own, int threads,
                          int64_t* offsets) const {
  const int64_t parts = std::clamp<int64_t>(words.count / kWordsOfPart, 1, threads);
  run_parts(parts, [&](int64_t part) {
    const int64_t begin = words.count * part / parts, end = words.count * (part + 1) / parts;
    for (int64_t word = begin; word < end; ++word) offsets[word + 1] = own;
    if (drops()) {
      each_row(words, begin, end, [&](int64_t word, int32_t) { ++offsets[word + 1]; });
      return;
    }
    std::string wrapped;
    for (int64_t word = begin; word < end; ++word) {
      if (words[word] == kEndOfLine) continue;
      wrap(words[word], wrapped);
      each_ngram(wrapped, min_n_, max_n_, [&](std::string_view, uint32_t) { ++offsets[word + 1]; });
    }
  });
  offsets[0] = 0;
  for (int64_t word = 0; word < words.count; ++word) offsets[word + 1] += offsets[word];
}

void SubwordRows::fill(const WordSpans& words, const int64_t* offsets, int64_t own, int32_t first,
                       bool zeros_allowed, int threads, int32_t* rows) const {
  const int64_t parts = std::clamp<int64_t>(words.count / kWordsOfPart, 1, threads);
  run_parts(parts, [&](int64_t part) {
    const int64_t begin = words.count * part / parts, end = words.count * (part + 1) / parts;
    if (own) {
      for (int64_t word = begin; word < end; ++word) {
        rows[offsets[word]] = static_cast<int32_t>(word);
      }
    }
    int64_t current = -1;
    int32_t* at = nullptr;
    each_row(words, begin, end, [&](int64_t word, int32_t row) {
      if (word != current) {
        current = word;
        at = rows + offsets[word] + own;
      }
      if (row == kZeros && !zeros_allowed) {
        throw std::invalid_argument("an n-gram of word " + std::to_string(word) + " has no row");
      }
      *at++ = row == kZeros ? kZeros : first + row;
    });
  });
}

}  // namespace lexforge::text
