// Character n-grams of words and the rows that they have in a table (Bojanowski et al. 2017,
// "Enriching word vectors with subword information"), with the numbers of fastText's files.
//
//   A word is wrapped, <word>, and cut into characters. A character is a byte and the bytes 10xxxxxx
//   behind it, whatever they are: of UTF-8 a code point. At each character begin the n-grams of
//   min_n .. max_n characters, the shorter first; but < and > alone are none, and the end of a line,
//   </s>, has none. max_n = 0 means no n-grams, min_n = 0 the same as 1.
//
//   hash:  h = 2166136261;  for each byte:  h = (h ^ byte) * 16777619  mod 2^32
//
// (FNV-1a) where a byte of 128 or more is taken as a negative number of 32 bits: 0xFFFFFF80 .. .
// An n-gram's bucket is its hash mod the number of buckets.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/word_table.h"

namespace lexforge::text {

inline constexpr std::string_view kEndOfLine = "</s>";
inline constexpr uint32_t kHashStart = 2166136261;

inline uint32_t hash_byte(uint32_t hash, char byte) {
  const auto extended = static_cast<uint32_t>(static_cast<int8_t>(byte));
  return (hash ^ extended) * 16777619;
}

inline uint32_t hash_ngram(std::string_view ngram) {
  uint32_t hash = kHashStart;
  for (const char byte : ngram) hash = hash_byte(hash, byte);
  return hash;
}

inline bool continues(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Calls take(n-gram, its hash) for those of a wrapped word, in order.
template <typename Take>
void each_ngram(std::string_view wrapped, int32_t min_n, int32_t max_n, const Take& take) {
  const size_t size = wrapped.size();
  for (size_t begin = 0; begin < size; ++begin) {
    if (continues(wrapped[begin])) continue;
    uint32_t hash = kHashStart;
    size_t end = begin;
    for (int32_t n = 1; n <= max_n && end < size; ++n) {
      do {
        hash = hash_byte(hash, wrapped[end++]);
      } while (end < size && continues(wrapped[end]));
      const bool bracket = n == 1 && (begin == 0 || end == size);
      if (n >= min_n && !bracket) take(wrapped.substr(begin, end - begin), hash);
    }
  }
}

// Words that lie one behind the other: word i is bytes offsets[i] .. offsets[i + 1].
struct WordSpans {
  const char* bytes;
  const int64_t* offsets;  // [count + 1], not descending
  int64_t count;

  std::string_view operator[](int64_t word) const {
    return {bytes + offsets[word], static_cast<size_t>(offsets[word + 1] - offsets[word])};
  }
};

// Which n-grams have rows, and which rows.
class SubwordRows {
 public:
  enum Kind : int {
    kEvery,     // each bucket its own
    kHeld,      // some buckets; another counts as a row of zeros
    kPruned,    // some buckets; another is as if it was no n-gram
    kExplicit,  // n-grams themselves, each once in a word; another is none. A whole wrapped word is
                // no n-gram: words have rows of their own.
  };

  static constexpr int32_t kZeros = -1;

  // Throws std::invalid_argument for what does not fit together; buckets are 0 for kExplicit.
  SubwordRows(Kind kind, int32_t min_n, int32_t max_n, int32_t buckets);

  // Gives buckets rows: row i to keys[i], or rows[i] to it where rows is not null. For kHeld and
  // kPruned. Throws std::invalid_argument for a bucket out of range or named twice.
  void give(std::span<const int32_t> keys, const int32_t* rows);
  // Gives n-grams rows, the next ones, in order; those that have one keep it. For kExplicit.
  void give(const WordSpans& ngrams);
  // Gives the next rows to those n-grams of words that have none, first to those that come most
  // often (a word's count for each of its n-grams), of equal ones to the first. For kHeld and
  // kExplicit.
  void grow(const WordSpans& words, const int64_t* counts);

  int64_t rows() const { return kind_ == kEvery ? buckets_ : rows_; }
  // For kHeld: the bucket of each row.
  const std::vector<int32_t>& buckets() const { return keys_; }
  // For kExplicit: the n-gram of a row.
  std::string_view ngram(int64_t row) const { return ngrams_[row].word(); }

  // How many rows each word has, in offsets[1 ..]: their sums from 0 on, `own` more for each word.
  void measure(const WordSpans& words, int64_t own, int threads, int64_t* offsets) const;
  // Calls take(n-gram) for those of one word, whether they have rows or not.
  template <typename Take>
  void each(std::string_view word, const Take& take) const {
    if (word == kEndOfLine) return;
    const std::string wrapped = std::string(1, '<').append(word).append(1, '>');
    each_ngram(wrapped, min_n_, max_n_, [&](std::string_view ngram, uint32_t) { take(ngram); });
  }
  // Puts the rows of one word behind those in `rows`.
  void add(std::string_view word, std::vector<int32_t>& rows) const;
  // The row of a bucket, or kZeros; not for kExplicit.
  int32_t row_of(int32_t bucket) const { return kind_ == kEvery ? bucket : table_.find(bucket); }
  // Writes the rows of words to where `offsets` says: where own is 1, first the word's number, and
  // `first` is added to those that follow. Throws std::invalid_argument where an n-gram has none but
  // zeros, and zeros_allowed is false.
  void fill(const WordSpans& words, const int64_t* offsets, int64_t own, int32_t first,
            bool zeros_allowed, int threads, int32_t* rows) const;

 private:
  // Open addressing from buckets to rows.
  class BucketTable {
   public:
    BucketTable() : slots_(1 << 10) {}
    // The bucket's row, or kZeros.
    int32_t find(int32_t bucket) const { return slots_[slot_of(bucket)].row; }
    // The bucket's row, which is this one where it had none.
    int32_t add(int32_t bucket, int32_t row);

   private:
    struct Slot {
      int32_t bucket = -1;
      int32_t row = kZeros;
    };
    size_t slot_of(int32_t bucket) const {
      const size_t mask = slots_.size() - 1;
      size_t at = static_cast<uint32_t>(bucket) * UINT64_C(0x9e3779b97f4a7c15) >> 20 & mask;
      while (slots_[at].bucket != bucket && slots_[at].bucket >= 0) at = (at + 1) & mask;
      return at;
    }
    std::vector<Slot> slots_;  // a power of two, at most half of them taken
    size_t taken_ = 0;
  };

  // Rows of the words [begin, end), each given to take(word, row).
  template <typename Take>
  void each_row(const WordSpans& words, int64_t begin, int64_t end, const Take& take) const;
  bool drops() const { return kind_ == kPruned || kind_ == kExplicit; }

  Kind kind_;
  int32_t min_n_, max_n_, buckets_;
  int64_t rows_ = 0;
  BucketTable table_;
  std::vector<int32_t> keys_;
  WordTable ngrams_;
};

}  // namespace lexforge::text
