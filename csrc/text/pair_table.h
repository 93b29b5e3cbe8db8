// Hash table from 64-bit keys to entries numbered in the order of their addition.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "text/huge_pages.h"

namespace lexforge::text {

class PairTable {
 public:
  static constexpr uint32_t kAbsent = UINT32_MAX;

  struct Entry {
    uint64_t key;
    uint64_t value;  // 0 at first, kept by the caller
  };

  PairTable() : slots_(1 << 12) {}

  uint32_t size() const { return static_cast<uint32_t>(entries_.size()); }
  Entry& operator[](uint32_t entry) { return entries_[entry]; }
  const Entry& operator[](uint32_t entry) const { return entries_[entry]; }

  // The key's entry number, or kAbsent.
  uint32_t find(uint64_t key) const { return slots_[slot_of(key, hash_key(key))].entry; }

  // The key's entry number, with a new entry of value 0 when the key is new. More than 2^32 - 2 of
  // them throw std::length_error.
  uint32_t add(uint64_t key) {
    const uint64_t hash = hash_key(key);
    const size_t slot = slot_of(key, hash);
    return slots_[slot].entry != kAbsent ? slots_[slot].entry : insert(slot, key, hash);
  }

  // Where a look at the key is going to begin; then, once that is there, the entry it leads to.
  void prefetch(uint64_t key) const {
    __builtin_prefetch(&slots_[hash_key(key) & (slots_.size() - 1)]);
  }
  void prefetch_entry(uint64_t key) const {
    const uint32_t entry = slots_[hash_key(key) & (slots_.size() - 1)].entry;
    if (entry != kAbsent) __builtin_prefetch(&entries_[entry], 1);
  }

 private:
  struct Slot {
    uint32_t tag = 0;  // high half of the hash: most mismatches end here, without a look at the key
    uint32_t entry = kAbsent;
  };

  static uint64_t hash_key(uint64_t key) {
    const auto product = static_cast<unsigned __int128>(key ^ 0x9e3779b97f4a7c15) *
                         static_cast<unsigned __int128>(0xd6e8feb86659fd93);
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  size_t slot_of(uint64_t key, uint64_t hash) const {
    const size_t mask = slots_.size() - 1;
    const auto tag = static_cast<uint32_t>(hash >> 32);
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
      const Slot slot = slots_[at];
      if (slot.entry == kAbsent || (slot.tag == tag && entries_[slot.entry].key == key)) return at;
    }
  }

  uint32_t insert(size_t slot, uint64_t key, uint64_t hash) {
    if (entries_.size() >= kAbsent - 1) throw std::length_error("more than 2^32 - 2 phrases");
    const uint32_t entry = size();
    entries_.push_back({key, 0});
    slots_[slot] = {static_cast<uint32_t>(hash >> 32), entry};
    if (3 * entries_.size() > 2 * slots_.size()) grow();
    return entry;
  }

  void grow() {
    std::vector<Slot, HugePages<Slot>> grown(2 * slots_.size());
    const size_t mask = grown.size() - 1;
    for (uint32_t i = 0; i < entries_.size(); ++i) {
      const uint64_t hash = hash_key(entries_[i].key);
      size_t at = hash & mask;
      while (grown[at].entry != kAbsent) at = (at + 1) & mask;
      grown[at] = {static_cast<uint32_t>(hash >> 32), i};
    }
    slots_ = std::move(grown);
  }

  std::vector<Slot, HugePages<Slot>> slots_;  // a power of two, at most two thirds of them taken
  std::vector<Entry, HugePages<Entry>> entries_;
};

}  // namespace lexforge::text
