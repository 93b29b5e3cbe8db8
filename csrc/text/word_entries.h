// The dictionary of a fastText model: tokens with their counts, and an index of tokens.
//
//   entry  <bytes of the token> 00 <count int64> <type int8>     type 0: word, 1: label
//
// Words come before labels.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/subwords.h"

namespace lexforge::text {

struct EntrySizes {
  int64_t bytes;   // of all entries
  int64_t tokens;  // bytes of all tokens
};

// What `count` entries at the start of a block take. Throws std::invalid_argument, naming the entry
// from 1 on, where the block ends before they do, a count is negative, a type is unknown, or a word
// comes behind a label.
EntrySizes measure_entries(std::string_view block, int64_t count);

// Writes what such entries hold: the tokens one behind the other, where each begins (and the last
// ends), and their counts. Returns how many are words.
int64_t split_entries(std::string_view block, int64_t count, char* tokens, int64_t* offsets,
                      int64_t* counts);

// Finds words among many; it borrows them.
class WordIndex {
 public:
  // Throws std::invalid_argument where a word comes twice, naming both from 1 on, or there are more
  // than 2^31 - 1.
  explicit WordIndex(const WordSpans& words);

  // Its number, or -1.
  int64_t find(std::string_view word) const;

 private:
  WordSpans words_;
  std::vector<uint32_t> slots_;  // a power of two, at most half of them taken; 1 + number
};

}  // namespace lexforge::text
