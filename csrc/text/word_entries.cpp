#include "text/word_entries.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

namespace lexforge::text {
namespace {

constexpr size_t kBehindToken = 1 + sizeof(int64_t) + 1;  // 00, count, type

struct Entry {
  std::string_view token;
  int64_t count;
  int8_t type;
};

// The entry that begins at `at`, which moves behind it; false where the block ends first.
bool next_entry(std::string_view block, size_t& at, Entry& entry) {
  const size_t end = block.find('\0', at);
  if (end == std::string_view::npos || block.size() - end < kBehindToken) return false;
  entry.token = block.substr(at, end - at);
  std::memcpy(&entry.count, block.data() + end + 1, sizeof(int64_t));
  entry.type = static_cast<int8_t>(block[end + 1 + sizeof(int64_t)]);
  at = end + kBehindToken;
  return true;
}

}  // namespace

EntrySizes measure_entries(std::string_view block, int64_t count) {
  size_t at = 0;
  int64_t tokens = 0;
  int8_t last = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto wrong = [&](const std::string& what) {
      throw std::invalid_argument("entry " + std::to_string(i + 1) + " of " +
                                  std::to_string(count) + " " + what);
    };
    Entry entry{};
    if (!next_entry(block, at, entry)) wrong("is cut short");
    if (entry.count < 0) wrong("has a count of " + std::to_string(entry.count));
    if (entry.type != 0 && entry.type != 1) {
      wrong("must be of type 0 or 1, and is of " + std::to_string(entry.type));
    }
    if (entry.type < last) wrong("is a word behind a label");
    last = entry.type;
    tokens += static_cast<int64_t>(entry.token.size());
  }
  return {static_cast<int64_t>(at), tokens};
}

int64_t split_entries(std::string_view block, int64_t count, char* tokens, int64_t* offsets,
                      int64_t* counts) {
  size_t at = 0;
  int64_t words = 0;
  offsets[0] = 0;
  for (int64_t i = 0; i < count; ++i) {
    Entry entry{};
    next_entry(block, at, entry);
    std::memcpy(tokens + offsets[i], entry.token.data(), entry.token.size());
    offsets[i + 1] = offsets[i] + static_cast<int64_t>(entry.token.size());
    counts[i] = entry.count;
    words += entry.type == 0;
  }
  return words;
}

WordIndex::WordIndex(const WordSpans& words) : words_(words) {
  if (words.count >= INT64_C(1) << 31) throw std::invalid_argument("more than 2^31 - 1 words");
  slots_.resize(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(2 * words.count, 2))));
  const size_t mask = slots_.size() - 1;
  constexpr int64_t kAhead = 16;
  uint64_t hashes[kAhead];
  for (int64_t begin = 0; begin < words.count; begin += kAhead) {
    const int64_t end = std::min(begin + kAhead, words.count);
    for (int64_t i = begin; i < end; ++i) {
      hashes[i - begin] = hash_word(words[i]);
      __builtin_prefetch(&slots_[hashes[i - begin] & mask]);
    }
    for (int64_t i = begin; i < end; ++i) {
      size_t at = hashes[i - begin] & mask;
      for (; slots_[at]; at = (at + 1) & mask) {
        if (words[slots_[at] - 1] == words[i]) {
          throw std::invalid_argument("entry " + std::to_string(i + 1) + " is entry " +
                                      std::to_string(slots_[at]) + " again");
        }
      }
      slots_[at] = static_cast<uint32_t>(i + 1);
    }
  }
}

int64_t WordIndex::find(std::string_view word) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash_word(word) & mask; slots_[at]; at = (at + 1) & mask) {
    if (words_[slots_[at] - 1] == word) return slots_[at] - 1;
  }
  return -1;
}

}  // namespace lexforge::text
