// Rows that several threads would write all the time, in copies of each thread's own.
// A part of word2vec_train_cpu_impl.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Frequent words, the first rows of their tables, and the nodes near a tree's root, the last of
// theirs, are in most windows. Were all threads to change them in place, their lines would travel
// from core to core in every window. With several threads each works on copies of its own for the
// length of a call, and then adds what they changed by to the tables.
//
// The copies of a row that is trained very often all go to the same place, and their changes added
// up would overshoot it. Where all threads together train a row n times, kOften / n of each change
// is added, down to the mean of the copies.
template <typename scalar_t>
class OwnRows {
 public:
  enum TableName { kIn, kOut, kTree, kTables };

  OwnRows(const Word2vecTrainParams<scalar_t>& params, const Word2vecTrainPlan& sizes,
          int64_t threads, Carver& carve)
      : stride_(params.stride), threads_(threads) {
    // Scales of changes are found by the place of a row in its table.
    copy_rows(kIn, params.in_table, 0, params.in_scale == nullptr ? sizes.own_words : 0, carve);
    copy_rows(kOut, params.out_table, 0, sizes.own_words, carve);
    copy_rows(kTree, params.tree_table, params.vocab_size - 1 - sizes.own_nodes, sizes.own_nodes,
              carve);
  }

  // Whether there are copies; where not, rows are trained in their tables.
  bool any() const { return threads_ > 1; }
  scalar_t* table(TableName name) const { return tables_[name].start; }

  // Where this thread trains a row, so many times.
  LEXFORGE_INLINE scalar_t* row(TableName name, int64_t row, int64_t times = 1) {
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

  // Adds the changes to the tables.
  void merge() {
    for (Table& table : tables_) {
      for (int64_t i = 0; i < table.rows; ++i) {
        if (table.times[i] == 0) continue;
        const auto all = static_cast<scalar_t>(threads_ * table.times[i]);
        const scalar_t mean = 1 / static_cast<scalar_t>(threads_);
        const scalar_t share = std::clamp<scalar_t>(kOften / all, mean, 1);
        scalar_t* into = table.start + (table.first + i) * stride_;
        const scalar_t* now = table.copy + i * stride_;
        const scalar_t* before = table.before + i * stride_;
        for (int64_t d = 0; d < stride_; ++d) into[d] += share * (now[d] - before[d]);
      }
    }
  }

 private:
  static constexpr scalar_t kOften = 1024;

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

  const int64_t stride_, threads_;
  Table tables_[kTables] = {};
};

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
