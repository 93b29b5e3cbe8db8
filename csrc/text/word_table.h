// Hash table from words to dense entry numbers: open addressing, the words' bytes in an arena.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace lexforge::text {

// A multiply-and-fold hash; fixed for ever only within one process, nothing stored depends on it.
inline uint64_t hash_word(std::string_view word) {
  const auto mix = [](uint64_t a, uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const auto load = [](const char* at, auto value) {
    std::memcpy(&value, at, sizeof(value));
    return static_cast<uint64_t>(value);
  };
  constexpr uint64_t kFirst = 0x9e3779b97f4a7c15, kSecond = 0xd6e8feb86659fd93;
  const char* at = word.data();
  const size_t length = word.size();
  uint64_t state = kFirst ^ length;
  if (length >= 8) {
    const char* last = at + length - 8;
    for (; at < last; at += 8) state = mix(state ^ load(at, uint64_t{}), kSecond);
    return mix(state ^ load(last, uint64_t{}), kFirst);
  }
  uint64_t bytes = 0;
  if (length >= 4) {
    bytes = load(at, uint32_t{}) << 32 | load(at + length - 4, uint32_t{});
  } else if (length > 0) {
    const auto byte = [&](size_t i) { return static_cast<uint64_t>(static_cast<uint8_t>(at[i])); };
    bytes = byte(0) << 16 | byte(length / 2) << 8 | byte(length - 1);
  }
  return mix(mix(state ^ bytes, kSecond), kFirst);
}

class WordTable {
 public:
  static constexpr uint32_t kAbsent = UINT32_MAX;

  struct Entry {
    const char* data;
    uint64_t length;
    uint64_t hash;
    uint64_t count;  // occurrences, kept by the caller
    uint64_t first;  // where the word appears first, kept by the caller
    std::string_view word() const { return {data, length}; }
  };

  WordTable() : slots_(1 << 12) {}

  size_t size() const { return entries_.size(); }
  Entry& operator[](uint32_t entry) { return entries_[entry]; }
  const Entry& operator[](uint32_t entry) const { return entries_[entry]; }

  // The word's entry number, or kAbsent. `hash` is hash_word(word).
  uint32_t find(std::string_view word, uint64_t hash) const {
    return slots_[slot_of(word, hash)].entry;
  }

  // Where a look for a word is going to begin; then, once that is there, the entry it leads to; and
  // then the bytes of that entry.
  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]); }
  void prefetch_entry(uint64_t hash) const {
    const uint32_t entry = slots_[hash & (slots_.size() - 1)].entry;
    if (entry != kAbsent) __builtin_prefetch(&entries_[entry]);
  }
  void prefetch_bytes(uint64_t hash) const {
    const uint32_t entry = slots_[hash & (slots_.size() - 1)].entry;
    if (entry != kAbsent) __builtin_prefetch(entries_[entry].data);
  }

  // The word's entry number, with a new entry of count 0 when the word is new. Entries are numbered
  // in the order of their addition; more than 2^32 - 2 of them throw std::length_error.
  uint32_t add(std::string_view word, uint64_t hash, uint64_t first) {
    const size_t slot = slot_of(word, hash);
    return slots_[slot].entry != kAbsent ? slots_[slot].entry : insert(slot, word, hash, first);
  }

 private:
  struct Slot {
    uint32_t tag =
        0;  // high half of the hash: most mismatches end here, without a look at the word
    uint32_t entry = kAbsent;
  };

  size_t slot_of(std::string_view word, uint64_t hash) const {
    const size_t mask = slots_.size() - 1;
    const auto tag = static_cast<uint32_t>(hash >> 32);
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
      const Slot slot = slots_[at];
      if (slot.entry == kAbsent || (slot.tag == tag && entries_[slot.entry].word() == word)) {
        return at;
      }
    }
  }

  uint32_t insert(size_t slot, std::string_view word, uint64_t hash, uint64_t first);
  const char* keep(std::string_view word);

  std::vector<Slot> slots_;  // a power of two, at most half of them taken
  std::vector<Entry> entries_;
  std::vector<std::unique_ptr<char[]>> arena_;
  char* arena_next_ = nullptr;
  size_t arena_left_ = 0;
};

}  // namespace lexforge::text
