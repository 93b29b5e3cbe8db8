// CPU binding of cooccurrence.h.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <tuple>
#include <vector>

#include "common/cpu_capability.h"
#include "cooccurrence/cooccurrence_binding.h"
#include "cooccurrence/cooccurrence_cpu.h"

namespace lexforge {
namespace {

using torch::stable::parallel_for;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;

constexpr int64_t kTokensPerThread = 1 << 16;      // a histogram is not worth less
constexpr int64_t kEntriesPerTask = 1 << 13;       // 96 KB
constexpr int64_t kLeastHeavyAdditions = 1 << 18;  // some 0.5 ms
constexpr uintptr_t kPage = 4096;
constexpr int64_t kGrain = 1 << 14;  // of loops that only look or copy

// A tensor of huge pages where the system has them: fewer page faults where it is written first,
// and fewer misses of the address translation where it is read at random.
Tensor new_large(const Tensor& like, int64_t size, ScalarType dtype) {
  Tensor tensor = torch::stable::new_empty(like, {size}, dtype);
#ifdef MADV_HUGEPAGE
  const auto begin = (reinterpret_cast<uintptr_t>(tensor.data_ptr()) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<uintptr_t>(tensor.data_ptr()) +
                    static_cast<uintptr_t>(size) * tensor.element_size()) /
                   kPage * kPage;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
  return tensor;
}

// Whether all of x[0 .. size) lie in [low, low + count).
bool all_within(const int32_t* x, int64_t size, int64_t low, int64_t count) {
  std::atomic<bool> within{true};
  parallel_for(0, size, kGrain, [&](int64_t begin, int64_t end) {
    uint32_t outside = 0;
    for (int64_t i = begin; i < end; ++i) {
      outside |=
          static_cast<uint32_t>(x[i]) - static_cast<uint32_t>(low) >= static_cast<uint32_t>(count);
    }
    if (outside != 0) within = false;
  });
  return within;
}

Tensors3 cooccurrence_index(const Tensor& tokens, const Tensor& offsets, int64_t first,
                            int64_t last, int64_t vocab_size, int64_t window, bool cross_sentences,
                            int64_t threads) {
  const char* op = "cooccurrence_index";
  check_contiguous(tokens, ScalarType::Int, 1, op, "tokens");
  check_contiguous(offsets, ScalarType::Long, 1, op, "offsets");
  check_devices(op, {{"tokens", tokens}, {"offsets", offsets}});
  check_vocab_size(op, vocab_size);
  check_window(op, window, false);
  const int64_t token_count = tokens.size(0);
  STD_TORCH_CHECK(offsets.size(0) >= 1, op, ": offsets must be [S + 1], got [0]");
  check_range(op, "first and last", first, last, token_count);
  const std::array<int64_t, 2> one_sentence{0, token_count};
  CooccurrenceIndexParams params{
      .tokens = data<const int32_t>(tokens),
      .offsets = cross_sentences ? one_sentence.data() : data<const int64_t>(offsets),
      .sentences = cross_sentences ? 1 : offsets.size(0) - 1,
      .token_count = token_count,
      .first = first,
      .last = last,
      .vocab_size = static_cast<int32_t>(vocab_size),
      .window = static_cast<int32_t>(window),
      .cross_sentences = cross_sentences,
      .padded = nullptr,
      .starts = nullptr,
      .positions = nullptr};
  CooccurrenceSpan span;
  STD_TORCH_CHECK(cooccurrence_span(params, span), op, ": offsets must rise from 0 to ",
                  token_count);
  STD_TORCH_CHECK(span.size() <= INT32_MAX, op,
                  ": a chunk must have fewer than 2^31 tokens and separators, got ", span.size());
  Tensor padded = new_large(tokens, span.size(), ScalarType::Int);
  Tensor starts = torch::stable::new_empty(offsets, {vocab_size + 1});
  Tensor positions = new_large(tokens, last - first, ScalarType::Int);
  params.padded = data<int32_t>(padded);
  params.starts = data<int64_t>(starts);
  params.positions = data<int32_t>(positions);

  // Each task counts the words of its tokens, takes its places behind the tasks before, and writes.
  const int64_t length = span.end - span.begin;
  const int64_t tasks =
      std::clamp<int64_t>(length / kTokensPerThread, 1,
                          std::clamp<int64_t>(threads, 1, torch::stable::get_num_threads()));
  const auto cut = [&](int64_t task) { return span.begin + length * task / tasks; };
  std::vector<int32_t> places(static_cast<size_t>(tasks * vocab_size));
  const auto places_of = [&](int64_t task) { return places.data() + task * vocab_size; };
  std::atomic<bool> valid{true};
  parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      if (!copy_tokens(params, span, cut(t), cut(t + 1), places_of(t))) valid = false;
    }
  });
  STD_TORCH_CHECK(valid.load(), op, ": tokens must be in [0, ", vocab_size, ")");
  if (first < last) {
    const int64_t sentences = span.s_last + 1 - span.s_first;
    parallel_for(0, sentences, kGrain, [&](int64_t begin, int64_t end) {
      write_separators(params, span, span.s_first + begin, span.s_first + end);
    });
    std::fill_n(params.padded + span.size() - window, window, params.vocab_size);
  }
  int64_t before = 0;
  for (int64_t i = 0; i < vocab_size; ++i) {
    params.starts[i] = before;
    for (int64_t t = 0; t < tasks; ++t) {
      const int32_t count = places_of(t)[i];
      places_of(t)[i] = static_cast<int32_t>(before);
      before += count;
    }
  }
  params.starts[vocab_size] = before;
  parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      write_positions(params, span, cut(t), cut(t + 1), places_of(t));
    }
  });
  return {padded, starts, positions};
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
    explicit Zeros(int64_t count)
        : memory_(static_cast<T*>(std::calloc(static_cast<size_t>(count), sizeof(T))), &std::free) {
      STD_TORCH_CHECK(memory_ != nullptr, "cooccurrence: out of memory for ", count, " elements");
    }
    T* get() const { return memory_.get(); }

   private:
    std::unique_ptr<T, decltype(&std::free)> memory_;
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
Tensors3 count_rows(const Source& source, int64_t rows, int64_t vocab_size, int64_t threads,
                    const Tensor& like) {
  threads = std::clamp<int64_t>(threads, 1, torch::stable::get_num_threads());
  int64_t additions = 0, most = 0;
  for (int64_t row = 0; row < rows; ++row) {
    additions += source.additions(row);
    most += std::min(source.additions(row), vocab_size);
  }
  Tensor row_size = torch::stable::new_empty(like, {rows}, ScalarType::Long);
  Tensor cols = new_large(like, most, ScalarType::Int);
  Tensor counts = new_large(like, most, ScalarType::Long);
  int64_t* const sizes = data<int64_t>(row_size);
  int32_t* const all_cols = data<int32_t>(cols);
  int64_t* const all_counts = data<int64_t>(counts);
  const auto count_dense = choose(baseline::count_dense, avx2::count_dense, avx512::count_dense);
  const auto take_sparse = choose(baseline::take_sparse, avx2::take_sparse, avx512::take_sparse);
  const auto take_dense = choose(baseline::take_dense, avx2::take_dense, avx512::take_dense);

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

struct WindowRows {
  CooccurrenceRowsParams params;
  std::vector<int64_t> units;  // by distance
  int64_t most_unsaturated;    // centres whose sums stay below 2^63

  int64_t centers(int64_t row) const {
    return params.starts[params.first_row + row + 1] - params.starts[params.first_row + row];
  }
  int64_t additions(int64_t row) const {
    return centers(row) * params.window * (params.symmetric ? 2 : 1);
  }
  int64_t add(int64_t row, int64_t part, int64_t parts, bool sparse,
              const CooccurrenceScratch& scratch) const {
    const int64_t start = params.starts[params.first_row + row], count = centers(row);
    return add_windows(params, units.data(), start + count * part / parts,
                       start + count * (part + 1) / parts, sparse, count > most_unsaturated,
                       scratch);
  }
};

Tensors3 cooccurrence_rows(const Tensor& padded, const Tensor& starts, const Tensor& positions,
                           int64_t first_row, int64_t last_row, int64_t window, bool symmetric,
                           bool distance_weighting, int64_t threads) {
  const char* op = "cooccurrence_rows";
  check_contiguous(padded, ScalarType::Int, 1, op, "padded");
  check_contiguous(starts, ScalarType::Long, 1, op, "starts");
  check_contiguous(positions, ScalarType::Int, 1, op, "positions");
  check_devices(op, {{"padded", padded}, {"starts", starts}, {"positions", positions}});
  check_window(op, window, distance_weighting);
  const int64_t vocab_size = starts.size(0) - 1;
  check_vocab_size(op, vocab_size);
  check_range(op, "first_row and last_row", first_row, last_row, vocab_size);
  WindowRows source{{.padded = data<const int32_t>(padded),
                     .starts = data<const int64_t>(starts),
                     .positions = data<const int32_t>(positions),
                     .vocab_size = static_cast<int32_t>(vocab_size),
                     .window = static_cast<int32_t>(window),
                     .symmetric = symmetric,
                     .distance_weighting = distance_weighting,
                     .first_row = static_cast<int32_t>(first_row),
                     .last_row = static_cast<int32_t>(last_row)},
                    {},
                    0};
  const int64_t* const start = source.params.starts;
  bool rising = start[first_row] >= 0 && start[last_row] <= positions.size(0);
  for (int64_t i = first_row; i < last_row; ++i) rising &= start[i] <= start[i + 1];
  STD_TORCH_CHECK(rising, op, ": starts must rise from 0 to ", positions.size(0));
  const int64_t size = padded.size(0), centers = start[last_row] - start[first_row];
  STD_TORCH_CHECK(size <= INT32_MAX, op, ": padded must have fewer than 2^31 elements, got ", size);
  STD_TORCH_CHECK(all_within(source.params.padded, size, 0, vocab_size + 1), op,
                  ": padded must be in [0, ", vocab_size, "]");
  STD_TORCH_CHECK(
      centers == 0 || (size > 2 * window && all_within(source.params.positions + start[first_row],
                                                       centers, window, size - 2 * window)),
      op, ": positions must be in [window, size of padded - window)");

  const int64_t unit = cooccurrence_unit(source.params.window, distance_weighting);
  double total = 0;  // of the units of a window
  for (int64_t d = 0; d <= window; ++d) {
    source.units.push_back(d == 0 ? 0 : distance_weighting ? unit / d : 1);
    total += static_cast<double>(2 * source.units.back());
  }
  source.most_unsaturated = static_cast<int64_t>(9.2e18 / total);
  return count_rows(source, last_row - first_row, vocab_size, threads, padded);
}

struct PartRows {
  struct Part {
    std::vector<int64_t> begin;  // [R + 1]
    const int32_t* cols;
    const int64_t* counts;
  };
  std::vector<Part> parts;

  int64_t additions(int64_t row) const {
    int64_t entries = 0;
    for (const Part& part : parts) entries += part.begin[row + 1] - part.begin[row];
    return entries;
  }
  int64_t add(int64_t row, int64_t part, int64_t part_count, bool sparse,
              const CooccurrenceScratch& scratch) const {
    int64_t listed = 0;
    for (const Part& p : parts) {
      const int64_t size = p.begin[row + 1] - p.begin[row];
      const int64_t begin = p.begin[row] + size * part / part_count;
      const int64_t end = p.begin[row] + size * (part + 1) / part_count;
      listed = add_entries(p.cols + begin, p.counts + begin, end - begin, listed, sparse, scratch);
    }
    return listed;
  }
};

Tensors3 cooccurrence_merge(const std::vector<Tensor>& row_sizes, const std::vector<Tensor>& cols,
                            const std::vector<Tensor>& counts, int64_t vocab_size,
                            int64_t threads) {
  const char* op = "cooccurrence_merge";
  check_vocab_size(op, vocab_size);
  check_parts(op, row_sizes, cols, counts);
  PartRows source;
  const int64_t rows = row_sizes[0].numel();
  for (size_t p = 0; p < row_sizes.size(); ++p) {
    const int64_t entries = cols[p].size(0);
    PartRows::Part part{{0}, data<const int32_t>(cols[p]), data<const int64_t>(counts[p])};
    part.begin.reserve(static_cast<size_t>(rows) + 1);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t size = data<const int64_t>(row_sizes[p])[row];
      STD_TORCH_CHECK(size >= 0 && size <= entries - part.begin.back(), op,
                      ": row_size must add up to ", entries);
      part.begin.push_back(part.begin.back() + size);
    }
    STD_TORCH_CHECK(part.begin.back() == entries, op, ": row_size must add up to ", entries);
    STD_TORCH_CHECK(all_within(part.cols, entries, 0, vocab_size), op, ": cols must be in [0, ",
                    vocab_size, ")");
    source.parts.push_back(std::move(part));
  }
  return count_rows(source, rows, vocab_size, threads, cols[0]);
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("cooccurrence_index", TORCH_BOX(&lexforge::cooccurrence_index));
  m.impl("cooccurrence_rows", TORCH_BOX(&lexforge::cooccurrence_rows));
  m.impl("cooccurrence_merge", TORCH_BOX(&lexforge::cooccurrence_merge));
}
