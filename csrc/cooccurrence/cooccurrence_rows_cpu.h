// Counting rows on torch's threads, for the CPU binding: which thread adds up what, and where it
// goes. Where the additions come from is the caller's: a chunk's windows, or counted parts.
#pragma once

#include <vector>

#include "common/cpu_binding.h"
#include "cooccurrence/cooccurrence_binding.h"
#include "cooccurrence/cooccurrence_cpu.h"

namespace lexforge {

constexpr int64_t kEntriesPerTask = 1 << 13;       // 96 KB
constexpr int64_t kLeastHeavyAdditions = 1 << 18;  // some 0.5 ms
constexpr int64_t kGrain = 1 << 14;                // of loops that only look or copy

// A tensor of huge pages where the system has them: fewer page faults where it is written first,
// and fewer misses of the address translation where it is read at random.
inline Tensor new_large(const Tensor& like, int64_t size, ScalarType dtype) {
  return on_huge_pages(new_empty(like, {size}, dtype), 0);
}

// The arrays of a thread: of a CooccurrenceScratch, and for the results of a task. They are zero,
// and cost no memory until they are used.
class RowScratch {
 public:
  explicit RowScratch(int64_t vocab_size)
      : sum_(vocab_size + 1),
        touched_(most_sparse(vocab_size) + 1),
        bits_(vocab_size / 64 + 1),
        marks_(vocab_size / 64 + 64),
        cols_(most_entries(vocab_size) + 3),
        counts_(most_entries(vocab_size)) {}

  static int64_t most_entries(int64_t vocab_size) {
    return std::max(kEntriesPerTask, most_sparse(vocab_size));
  }
  CooccurrenceScratch arrays() const {
    return {sum_.get(), touched_.get(), bits_.get(), marks_.get()};
  }
  int32_t* cols() const { return cols_.get(); }
  int64_t* counts() const { return counts_.get(); }

 private:
  template <typename T>
  class Zeros {
   public:
    explicit Zeros(int64_t count) : memory_(std::calloc(static_cast<size_t>(count), sizeof(T))) {
      if (!memory_) fail("cooccurrence: out of memory for ", count, " elements");
    }
    T* get() const { return static_cast<T*>(memory_.get()); }

   private:
    Scratch memory_;
  };

  Zeros<uint64_t> sum_;
  Zeros<int32_t> touched_;
  Zeros<uint64_t> bits_;
  Zeros<uint8_t> marks_;
  Zeros<int32_t> cols_;
  Zeros<int64_t> counts_;
};

// Places for the results of tasks, one behind the other: a task gets its own when it knows its
// size and all tasks before it have theirs.
class OrderedPlaces {
 public:
  int64_t take(int64_t task, int64_t entries) {
    for (int64_t next; (next = next_.load(std::memory_order_acquire)) != task;) {
      next_.wait(next, std::memory_order_acquire);
    }
    const int64_t place = end_;
    end_ += entries;
    next_.store(task + 1, std::memory_order_release);
    next_.notify_all();
    return place;
  }
  int64_t end() const { return end_; }
  void restart() { next_ = 0; }

 private:
  std::atomic<int64_t> next_{0};
  int64_t end_ = 0;
};

// Counts rows [0, rows) of a source, which has
//   additions(row)                                 for the row: its work, and a bound of its size
//   add(row, part, parts, sparse, scratch)         adds a part of the row; the columns listed
// Results come in the order of the rows. Rows are taken in runs by whichever thread is free, but
// the heaviest are added up by all threads together, each a part.
template <typename Source>
CooccurrenceRows count_rows(const Source& source, int64_t rows, int64_t vocab_size, int64_t threads,
                            const Tensor& like) {
  threads = std::clamp<int64_t>(threads, 1, torch::stable::get_num_threads());
  int64_t additions = 0, most = 0;
  for (int64_t row = 0; row < rows; ++row) {
    additions += source.additions(row);
    most += std::min(source.additions(row), vocab_size);
  }
  Tensor row_size = new_empty(like, {rows}, ScalarType::Long);
  Tensor cols = new_large(like, most, ScalarType::Int);
  Tensor counts = new_large(like, most, ScalarType::Long);
  int64_t* const sizes = data<int64_t>(row_size);
  int32_t* const all_cols = data<int32_t>(cols);
  int64_t* const all_counts = data<int64_t>(counts);
  const auto count_dense = LEXFORGE_CHOOSE(count_dense);
  const auto take_sparse = LEXFORGE_CHOOSE(take_sparse);
  const auto take_dense = LEXFORGE_CHOOSE(take_dense);

  const int64_t heavy =
      threads > 1 ? std::max(kLeastHeavyAdditions, additions / (4 * threads)) : INT64_MAX;
  const int64_t sparse = most_sparse(vocab_size);
  const int64_t task_entries = RowScratch::most_entries(vocab_size);
  std::vector<RowScratch> scratch;
  for (int64_t t = 0; t < threads; ++t) scratch.emplace_back(vocab_size);
  OrderedPlaces places;

  const auto dense_row = [&](int64_t task, int64_t row, uint64_t* sum) {
    sizes[row] = count_dense(sum, vocab_size);
    const int64_t place = places.take(task, sizes[row]);
    take_dense(sum, vocab_size, sizes[row], all_cols + place, all_counts + place);
  };

  const auto heavy_row = [&](int64_t row) {
    parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        source.add(row, t, threads, false, scratch[t].arrays());
      }
    });
    uint64_t* const sum = scratch[0].arrays().sum;
    parallel_for(0, vocab_size, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t t = 1; t < threads; ++t) {
        uint64_t* const part = scratch[t].arrays().sum;
        for (int64_t i = begin; i < end; ++i) {
          sum[i] = static_cast<uint64_t>(
              cooccurrence_add(static_cast<int64_t>(sum[i]), static_cast<int64_t>(part[i])));
          part[i] = 0;
        }
      }
    });
    places.restart();
    dense_row(0, row, sum);
  };

  const auto sparse_rows = [&](int64_t task, int64_t first, int64_t last, const RowScratch& own) {
    int64_t entries = 0;
    for (int64_t row = first; row < last; ++row) {
      const int64_t listed = source.add(row, 0, 1, true, own.arrays());
      sizes[row] = take_sparse(own.arrays(), listed, own.cols() + entries, own.counts() + entries);
      entries += sizes[row];
    }
    const int64_t place = places.take(task, entries);
    std::copy_n(own.cols(), entries, all_cols + place);
    std::copy_n(own.counts(), entries, all_counts + place);
  };

  // A dense row is a task; so are neighbouring sparse rows whose results fit.
  const auto light_rows = [&](int64_t first, int64_t last) {
    std::vector<int64_t> tasks{first};
    for (int64_t row = first, entries = 0; row < last; ++row) {
      const int64_t here = source.additions(row);
      const bool alone = here > sparse || (row > first && source.additions(row - 1) > sparse);
      if (row > first && (alone || entries + here > task_entries)) {
        tasks.push_back(row);
        entries = 0;
      }
      entries += here;
    }
    tasks.push_back(last);
    places.restart();
    std::atomic<int64_t> next{0};
    parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t task; (task = next.fetch_add(1)) + 1 < static_cast<int64_t>(tasks.size());) {
          const int64_t row = tasks[task];
          if (source.additions(row) > sparse) {
            source.add(row, 0, 1, false, scratch[t].arrays());
            dense_row(task, row, scratch[t].arrays().sum);
          } else {
            sparse_rows(task, row, tasks[task + 1], scratch[t]);
          }
        }
      }
    });
  };

  for (int64_t row = 0; row < rows;) {
    if (source.additions(row) > heavy) {
      heavy_row(row++);
      continue;
    }
    int64_t last = row + 1;
    while (last < rows && source.additions(last) <= heavy) ++last;
    light_rows(row, last);
    row = last;
  }
  return {row_size, torch::stable::narrow(cols, 0, 0, places.end()),
          torch::stable::narrow(counts, 0, 0, places.end())};
}

}  // namespace lexforge
