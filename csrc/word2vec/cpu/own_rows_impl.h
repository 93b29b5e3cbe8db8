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
// A shard works on copies of all rows that it meets, of tables that nobody changes meanwhile
// (ShardRows): as large as a table and at the same places, so that a row's is found at once, and
// kept from round to round, so that it is read from the table once in a call.
template <typename row_t>
class OwnRows {
 public:
  using scalar_t = ComputedType<row_t>;
  enum TableName { kIn, kOut, kTree, kTables };

  OwnRows(const Word2vecTrainParams<row_t>& params, const Word2vecTrainPlan& sizes, int64_t threads,
          ShardRows<row_t>* shard, Carver& carve)
      : stride_(params.stride), threads_(threads), shard_(shard) {
    // Scales of changes are found by the place of a row in its table.
    copy_rows(kIn, params.in_table, 0, params.in_scale == nullptr ? sizes.own_words : 0, carve);
    copy_rows(kOut, params.out_table, 0, sizes.own_words, carve);
    copy_rows(kTree, params.tree_table, params.vocab_size - 1 - sizes.own_nodes, sizes.own_nodes,
              carve);
    for (int64_t name = 0; shard != nullptr && name < kTables; ++name) {
      tables_[name].start = shard->table[name].copy;
    }
  }

  // Whether there are copies; where not, rows are trained in their tables.
  bool any() const { return threads_ > 1 || shard_ != nullptr; }
  row_t* table(TableName name) const { return tables_[name].start; }

  // Where this thread trains a row, so many times.
  LEXFORGE_INLINE row_t* row(TableName name, int64_t row, int64_t times = 1) {
    Table& table = tables_[name];
    if (shard_ != nullptr) {
      meet(shard_->table[name], row, times);
      return table.start + row * stride_;
    }
    const int64_t i = row - table.first;
    if (static_cast<uint64_t>(i) >= static_cast<uint64_t>(table.rows)) {
      return table.start + row * stride_;
    }
    table.times[i] += times;
    return table.copy + i * stride_;
  }

  // The same for the nodes of a path, once: `count` links, each twice a node and a code. Without
  // branches: which nodes have copies is hard to foresee.
  LEXFORGE_INLINE void nodes(const int32_t* links, int64_t count, row_t** to) {
    if (shard_ != nullptr) {
      for (int64_t n = 0; n < count; ++n) to[n] = row(kTree, links[n] >> 1);
      return;
    }
    const Table& tree = tables_[kTree];
    const int64_t stride = stride_, first = tree.rows > 0 ? tree.first : INT64_MAX;
    row_t* const start = tree.start;
    row_t* const copy = tree.copy;
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

  // A row of in_table that will be trained soon, to be fetched.
  const row_t* input_ahead(int64_t row) const { return tables_[kIn].start + row * stride_; }

  // The number of a row of in_table that row() gave, where there are scales.
  int64_t input_at(const row_t* row) const { return (row - tables_[kIn].start) / stride_; }

  // Before the rows of a plan are used: makes the copies that a shard still lacks.
  void make_copies() {
    if (shard_ == nullptr) return;
    constexpr int64_t kAhead = 8;
    for (auto& table : shard_->table) {
      for (int64_t i = 0; i < table.lacking; ++i) {
        if (i + kAhead < table.lacking) {
          const row_t* next = table.start + table.fresh[i + kAhead] * stride_;
          constexpr int64_t kLine = 64 / sizeof(row_t);
          for (int64_t d = 0; d < stride_; d += kLine) __builtin_prefetch(next + d);
        }
        const int64_t at = table.fresh[i] * stride_;
        std::memcpy(table.copy + at, table.start + at, stride_ * sizeof(row_t));
      }
      table.lacking = 0;
    }
  }

  // Adds the changes of a thread's copies to the tables.
  void merge() {
    for (Table& table : tables_) {
      for (int64_t i = 0; i < table.rows; ++i) {
        if (table.times[i] == 0) continue;
        const scalar_t share = share_of<scalar_t>(threads_ * table.times[i], threads_);
        row_t* into = table.start + (table.first + i) * stride_;
        const row_t* now = table.copy + i * stride_;
        const row_t* before = table.before + i * stride_;
        for (int64_t d = 0; d < stride_; ++d) {
          const scalar_t change = word2vec_number(now[d]) - word2vec_number(before[d]);
          into[d] = word2vec_stored<row_t>(word2vec_number(into[d]) + share * change);
        }
      }
    }
  }

 private:
  struct Table {
    row_t* start;
    int64_t first, rows;  // of which there are copies
    row_t* copy;
    row_t* before;
    int64_t* times;  // that a row was trained, and one more for rows without a copy
  };

  void copy_rows(TableName name, row_t* table, int64_t first, int64_t rows, Carver& carve) {
    if (table == nullptr) rows = 0;
    const int64_t count = rows * stride_;
    row_t* const copy = carve.take<row_t>(count);
    row_t* const before = carve.take<row_t>(count);
    int64_t* const times = carve.take<int64_t>(rows + 1);
    tables_[name] = {table, first, rows, copy, before, times};
    std::memset(times, 0, (rows + 1) * sizeof(int64_t));
    if (rows == 0) return;
    std::memcpy(before, table + first * stride_, count * sizeof(row_t));
    std::memcpy(copy, before, count * sizeof(row_t));
  }

  // Counts that a shard trains a row, so many times.
  LEXFORGE_INLINE static void meet(typename ShardRows<row_t>::Table& table, int64_t row,
                                   int64_t times) {
    constexpr uint32_t kCopied = ShardRows<row_t>::kCopied;
    uint32_t& known = table.times[row];
    if (known <= kCopied) {
      table.trained[row / 64] |= uint64_t{1} << row % 64;
      if (known == 0) table.fresh[table.lacking++] = static_cast<int32_t>(row);
      known = kCopied;
    }
    known += static_cast<uint32_t>(times);
  }

  const int64_t stride_, threads_;
  ShardRows<row_t>* const shard_;
  Table tables_[kTables] = {};
};

// Fetches so many elements of a row.
template <typename row_t>
LEXFORGE_INLINE void prefetch(const row_t* row, int64_t count) {
#pragma GCC unroll 32
  for (int64_t d = 0; d < count; d += 64 / static_cast<int64_t>(sizeof(row_t))) {
    __builtin_prefetch(row + d, 1, 3);
  }
}

// The member's part of adding what `count` shards changed to the tables, and to the others' copies.
// A row's shards are added up in their order, and no matter by whom.
template <typename row_t>
void merge_shards(ShardRows<row_t>* shards, int64_t count, int64_t stride,
                  const TeamMember& member) {
  using Table = typename ShardRows<row_t>::Table;
  using scalar_t = ComputedType<row_t>;
  constexpr uint32_t kCopied = ShardRows<row_t>::kCopied;
  for (int64_t name = 0; name < ShardRows<row_t>::kTables; ++name) {
    const int64_t rows = shards[0].table[name].rows;
    // Lines of `trained`, a member's one after another's.
    constexpr int64_t kLine = 64 / sizeof(uint64_t);
    for (int64_t word = member.index * kLine; word * 64 < rows;
         word += (word + 1) % kLine != 0 ? 1 : 1 + (member.members - 1) * kLine) {
      uint64_t any = 0;
      for (int64_t s = 0; s < count; ++s) any |= shards[s].table[name].trained[word];
      // One row is merged while those after it are fetched.
      constexpr int kAhead = 3;
      uint64_t ahead = any;
      const auto fetch = [&] {
        if (ahead == 0) return;
        const int64_t at = (word * 64 + std::countr_zero(ahead)) * stride;
        prefetch(shards[0].table[name].start + at, stride);
        for (int64_t s = 0; s < count; ++s) {
          if (shards[s].table[name].times[at / stride] != 0) {
            prefetch(shards[s].table[name].copy + at, stride);
          }
        }
        ahead &= ahead - 1;
      };
      for (int i = 0; i < kAhead; ++i) fetch();
      for (; any != 0; any &= any - 1) {
        fetch();
        const int64_t bit = std::countr_zero(any), row = word * 64 + bit, at = row * stride;
        row_t* into[kMostShards + 1] = {shards[0].table[name].start + at};
        const row_t* copy[kMostShards];
        int64_t targets = 1, copies = 0, times = 0;
        for (int64_t s = 0; s < count; ++s) {
          Table& table = shards[s].table[name];
          if (table.times[row] == 0) continue;
          into[targets++] = table.copy + at;
          if ((table.trained[word] >> bit & 1) == 0) continue;
          copy[copies++] = table.copy + at;
          times += table.times[row] - kCopied;
          table.times[row] = kCopied;
        }
        if (copies == 1) {
          for (int64_t t = 0; t < targets; ++t) {
            if (into[t] != copy[0]) std::memcpy(into[t], copy[0], stride * sizeof(row_t));
          }
          continue;
        }
        const scalar_t share = share_of<scalar_t>(times, copies);
        constexpr int64_t kPiece = 16;
        for (int64_t d = 0; d < stride; d += kPiece) {
          scalar_t before[kPiece], change[kPiece] = {};
          row_t after[kPiece];
          for (int64_t i = 0; i < kPiece; ++i) before[i] = word2vec_number(into[0][d + i]);
          for (int64_t c = 0; c < copies; ++c) {
            for (int64_t i = 0; i < kPiece; ++i) {
              change[i] += word2vec_number(copy[c][d + i]) - before[i];
            }
          }
          for (int64_t i = 0; i < kPiece; ++i) {
            after[i] = word2vec_stored<row_t>(before[i] + share * change[i]);
          }
          for (int64_t t = 0; t < targets; ++t) std::memcpy(into[t] + d, after, sizeof after);
        }
      }
      for (int64_t s = 0; s < count; ++s) shards[s].table[name].trained[word] = 0;
    }
  }
}

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
