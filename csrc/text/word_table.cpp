#include "text/word_table.h"

#include <stdexcept>

namespace lexforge::text {

uint32_t WordTable::insert(size_t slot, std::string_view word, uint64_t hash, uint64_t first) {
  if (entries_.size() >= kAbsent - 1) throw std::length_error("more than 2^32 - 2 distinct words");
  const auto entry = static_cast<uint32_t>(entries_.size());
  entries_.push_back({keep(word), word.size(), hash, 0, first});
  slots_[slot] = {static_cast<uint32_t>(hash >> 32), entry};
  if (2 * entries_.size() > slots_.size()) {
    std::vector<Slot> grown(2 * slots_.size());
    const size_t mask = grown.size() - 1;
    for (uint32_t i = 0; i < entries_.size(); ++i) {
      size_t at = entries_[i].hash & mask;
      while (grown[at].entry != kAbsent) at = (at + 1) & mask;
      grown[at] = {static_cast<uint32_t>(entries_[i].hash >> 32), i};
    }
    slots_ = std::move(grown);
  }
  return entry;
}

const char* WordTable::keep(std::string_view word) {
  constexpr size_t kBlock = 1 << 16;
  if (word.size() > kBlock / 4) {  // a block of its own, so that no open block is left half empty
    arena_.push_back(std::make_unique_for_overwrite<char[]>(word.size()));
    std::memcpy(arena_.back().get(), word.data(), word.size());
    return arena_.back().get();
  }
  if (word.size() > arena_left_) {
    arena_.push_back(std::make_unique_for_overwrite<char[]>(kBlock));
    arena_next_ = arena_.back().get();
    arena_left_ = kBlock;
  }
  char* at = arena_next_;
  std::memcpy(at, word.data(), word.size());
  arena_next_ += word.size();
  arena_left_ -= word.size();
  return at;
}

}  // namespace lexforge::text
