// Rows in copies: those that several threads would write all the time, or all that a shard trains.
// A part of word2vec_train_cpu_impl.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// How much of what a row's copies changed by is added to it, where it was trained so many times in
// all of them.
template <typename scalar_t>
scalar_t share_of(int64_t times, int64_t copies) {
  constexpr scalar_t kOften = 1024;
  return std::clamp<scalar_t>(kOften / static_cast<scalar_t>(times),
                              1 / static_cast<scalar_t>(copies), 1);
}

// Frequent words, the first rows of their tables, and the nodes near a tree's root, the last of
// theirs, are in most windows. Were all threads to change them in place, their lines would travel
// from core to core in every window. With several threads each works on copies of its own for the
// length of a call, and then adds what they changed by to the tables.
//
// The copies of a row that is trained very often all go to the same place, and their changes added
// up would overshoot it. Where all threads together train a row n times, kOften / n of each change
// is added, down to the mean of the copies.
//
// A shard works on copies of all rows that it meets, made when it first meets them, of tables that
// nobody changes meanwhile. They lie in the order of their making, and stay until merge_shards().
template <typename scalar_t>
class OwnRows {
 public:
  enum TableName { kIn, kOut, kTree, kTables };

  OwnRows(const Word2vecTrainParams<scalar_t>& params, const Word2vecTrainPlan& sizes,
          int64_t threads, ShardRows<scalar_t>* shard, Carver& carve)
      : stride_(params.stride), threads_(threads), shard_(shard) {
    if (shard != nullptr) {
      for (auto& table : shard->table) table.copies = table.made = 0;
    }
    // Scales of changes are found by the place of a row in its table.
    copy_rows(kIn, params.in_table, 0, params.in_scale == nullptr ? sizes.own_words : 0, carve);
    copy_rows(kOut, params.out_table, 0, sizes.own_words, carve);
    copy_rows(kTree, params.tree_table, params.vocab_size - 1 - sizes.own_nodes, sizes.own_nodes,
              carve);
  }

  // Whether there are copies; where not, rows are trained in their tables.
  bool any() const { return threads_ > 1 || shard_ != nullptr; }
  scalar_t* table(TableName name) const { return tables_[name].start; }

  // Where this thread trains a row, so many times.
  LEXFORGE_INLINE scalar_t* row(TableName name, int64_t row, int64_t times = 1) {
    if (shard_ != nullptr) return copy_of(shard_->table[name], row, times);
    Table& table = tables_[name];
    const int64_t i = row - table.first;
    if (static_cast<uint64_t>(i) >= static_cast<uint64_t>(table.rows)) {
      return table.start + row * stride_;
    }
    table.times[i] += times;
    return table.copy + i * stride_;
  }

  // The same for the nodes of a path, once: `count` links, each twice a node and a code. Without
  // branches: which nodes have copies is hard to foresee.
  LEXFORGE_INLINE void nodes(const int32_t* links, int64_t count, scalar_t** to) {
    if (shard_ != nullptr) {
      for (int64_t n = 0; n < count; ++n) to[n] = copy_of(shard_->table[kTree], links[n] >> 1, 1);
      return;
    }
    const Table& tree = tables_[kTree];
    const int64_t stride = stride_, first = tree.rows > 0 ? tree.first : INT64_MAX;
    scalar_t* const start = tree.start;
    scalar_t* const copy = tree.copy;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t node = links[n] >> 1;
      to[n] = (node < first ? start : copy) + (node < first ? node : node - first) * stride;
    }
    if (tree.rows == 0) return;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t i = (links[n] >> 1) - first;
      ++tree.times[i < 0 ? tree.rows : i];
    }
  }

  // A row of in_table that will be trained soon, to be fetched; null where it has yet to be copied.
  const scalar_t* input_ahead(int64_t row) const {
    if (shard_ == nullptr) return tables_[kIn].start + row * stride_;
    const auto& table = shard_->table[kIn];
    const uint32_t number = table.place[row].number;
    return number == 0 ? nullptr : table.copy + (number - 1) * stride_;
  }

  // The number of a row of in_table that row() gave, where there are scales.
  int64_t input_at(const scalar_t* row) const {
    if (shard_ == nullptr) return (row - tables_[kIn].start) / stride_;
    const auto& table = shard_->table[kIn];
    return table.row[(row - table.copy) / stride_];
  }

  // Before the rows of a plan are used: makes the copies that a shard still lacks.
  void make_copies() {
    if (shard_ == nullptr) return;
    constexpr int64_t kAhead = 8;
    for (auto& table : shard_->table) {
      const auto original = [&](int64_t i) { return table.start + table.row[i] * stride_; };
      for (int64_t i = table.made; i < table.copies; ++i) {
        if (i + kAhead < table.copies) {
          const scalar_t* next = original(i + kAhead);
          constexpr int64_t kLine = 64 / sizeof(scalar_t);
          for (int64_t d = 0; d < stride_; d += kLine) __builtin_prefetch(next + d);
        }
        std::memcpy(table.copy + i * stride_, original(i), stride_ * sizeof(scalar_t));
      }
      table.made = table.copies;
    }
  }

  // Adds the changes of a thread's copies to the tables.
  void merge() {
    for (Table& table : tables_) {
      for (int64_t i = 0; i < table.rows; ++i) {
        if (table.times[i] == 0) continue;
        const scalar_t share = share_of<scalar_t>(threads_ * table.times[i], threads_);
        scalar_t* into = table.start + (table.first + i) * stride_;
        const scalar_t* now = table.copy + i * stride_;
        const scalar_t* before = table.before + i * stride_;
        for (int64_t d = 0; d < stride_; ++d) into[d] += share * (now[d] - before[d]);
      }
    }
  }

 private:
  struct Table {
    scalar_t* start;
    int64_t first, rows;  // of which there are copies
    scalar_t* copy;
    scalar_t* before;
    int64_t* times;  // that a row was trained, and one more for rows without a copy
  };

  void copy_rows(TableName name, scalar_t* table, int64_t first, int64_t rows, Carver& carve) {
    if (table == nullptr) rows = 0;
    const int64_t count = rows * stride_;
    scalar_t* const copy = carve.take<scalar_t>(count);
    scalar_t* const before = carve.take<scalar_t>(count);
    int64_t* const times = carve.take<int64_t>(rows + 1);
    tables_[name] = {table, first, rows, copy, before, times};
    std::memset(times, 0, (rows + 1) * sizeof(int64_t));
    if (rows == 0) return;
    std::memcpy(before, table + first * stride_, count * sizeof(scalar_t));
    std::memcpy(copy, before, count * sizeof(scalar_t));
  }

  LEXFORGE_INLINE scalar_t* copy_of(typename ShardRows<scalar_t>::Table& table, int64_t row,
                                    int64_t times) {
    auto& place = table.place[row];
    if (place.number == 0) {
      table.row[table.copies] = static_cast<int32_t>(row);
      table.copied[row / 64] |= uint64_t{1} << row % 64;
      place.number = static_cast<uint32_t>(++table.copies);
    }
    place.times += static_cast<uint32_t>(times);
    return table.copy + (place.number - 1) * stride_;
  }

  const int64_t stride_, threads_;
  ShardRows<scalar_t>* const shard_;
  Table tables_[kTables] = {};
};

// The member's part of adding what `count` shards changed to the tables, whose copies are then gone.
// A row's shards are added up in their order, and no matter by whom.
template <typename scalar_t>
void merge_shards(ShardRows<scalar_t>* shards, int64_t count, int64_t stride,
                  const TeamMember& member) {
  using Table = typename ShardRows<scalar_t>::Table;
  for (int64_t name = 0; name < ShardRows<scalar_t>::kTables; ++name) {
    const int64_t rows = shards[0].table[name].rows;
    for (int64_t word = member.index; word * 64 < rows; word += member.members) {
      uint64_t any = 0;
      for (int64_t s = 0; s < count; ++s) {
        const Table& table = shards[s].table[name];
        for (uint64_t left = table.copied[word]; left != 0; left &= left - 1) {
          const int64_t row = word * 64 + std::countr_zero(left);
          const scalar_t* copy = table.copy + (table.place[row].number - 1) * stride;
          constexpr int64_t kLine = 64 / sizeof(scalar_t);
          for (int64_t d = 0; d < stride; d += kLine) __builtin_prefetch(copy + d, 0, 2);
        }
        any |= table.copied[word];
      }
      for (; any != 0; any &= any - 1) {
        const int64_t bit = std::countr_zero(any), row = word * 64 + bit;
        const scalar_t* copy[kMostShards];
        int64_t copies = 0, times = 0;
        for (int64_t s = 0; s < count; ++s) {
          Table& table = shards[s].table[name];
          if ((table.copied[word] >> bit & 1) == 0) continue;
          auto& place = table.place[row];
          copy[copies++] = table.copy + (place.number - 1) * stride;
          times += place.times;
          place = {};
        }
        scalar_t* const into = shards[0].table[name].start + row * stride;
        if (copies == 1) {
          std::memcpy(into, copy[0], stride * sizeof(scalar_t));
          continue;
        }
        const scalar_t share = share_of<scalar_t>(times, copies);
        constexpr int64_t kPiece = 16;
        for (int64_t d = 0; d < stride; d += kPiece) {
          scalar_t before[kPiece], change[kPiece] = {};
          std::memcpy(before, into + d, sizeof before);
          for (int64_t c = 0; c < copies; ++c) {
            for (int64_t i = 0; i < kPiece; ++i) change[i] += copy[c][d + i] - before[i];
          }
          for (int64_t i = 0; i < kPiece; ++i) into[d + i] = before[i] + share * change[i];
        }
      }
      for (int64_t s = 0; s < count; ++s) shards[s].table[name].copied[word] = 0;
    }
  }
}

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
