// Entries on the GPU to rows, for the CUDA binding: sorted and summed in parts that fit into the free
// memory, and put together.
#pragma once

#include <vector>

#include "common/cuda_binding.h"
#include "common/sorted_rows.h"
#include "cooccurrence/cooccurrence_binding.h"
#include "cooccurrence/cooccurrence_cuda.h"

namespace lexforge {

inline Tensor empty(const Tensor& like, int64_t n, ScalarType dtype) {
  return new_empty(like, {n}, dtype);
}

// Words are kept in tensors of the signed type of their size.
template <typename Word>
constexpr ScalarType kWordType = sizeof(Word) == 4 ? ScalarType::Int : ScalarType::Long;

template <typename T>
std::vector<T> to_host(const T* device, int64_t n, void* stream) {
  std::vector<T> host(static_cast<size_t>(n));
  cooccurrence_read(host.data(), device, host.size() * sizeof(T), stream);
  return host;
}

// ---- from entries to rows ----

// Where the sizes of all rows go, and the entries of some consecutive rows at a time.
struct RowsInParts {
  Tensor row_size;
  std::vector<Tensor> cols, counts;
};

inline Tensor join(const Tensor& like, const std::vector<Tensor>& parts, ScalarType dtype) {
  if (parts.size() == 1) return parts[0];
  int64_t n = 0;
  for (const Tensor& part : parts) n += part.size(0);
  Tensor whole = empty(like, n, dtype);
  n = 0;
  for (const Tensor& part : parts) {
    Tensor place = torch::stable::narrow(whole, 0, n, part.size(0));
    torch::stable::copy_(place, part);
    n += part.size(0);
  }
  return whole;
}

inline CooccurrenceRows join(const RowsInParts& rows) {
  return {rows.row_size, join(rows.row_size, rows.cols, ScalarType::Int),
          join(rows.row_size, rows.counts, ScalarType::Long)};
}

// Appends what n entries come to; `keys` and `units` may be longer and are overwritten.
template <typename Word>
void append_entries(RowsInParts& rows, int64_t first_row, const CooccurrenceKeys& layout,
                    const Tensor& keys, const Tensor& units, int64_t n, void* stream) {
  if (n == 0) return;
  Tensor other_keys = empty(keys, n, kWordType<Word>);
  Tensor other_units = empty(keys, n, kWordType<Word>);
  CooccurrenceBuffers<Word> key_buffers{{data<Word>(keys), data<Word>(other_keys)}, 0};
  CooccurrenceBuffers<Word> unit_buffers{{data<Word>(units), data<Word>(other_units)}, 0};
  with_storage(keys, [&](void* storage, size_t bytes) {
    return cooccurrence_sort(storage, bytes, key_buffers, unit_buffers, n, layout.bits(), stream);
  });
  // Into the place of the unsorted keys.
  Word* distinct = key_buffers.array[1 - key_buffers.current];
  Tensor sums = empty(keys, n, ScalarType::Long), runs = empty(keys, 1, ScalarType::Long);
  with_storage(keys, [&](void* storage, size_t bytes) {
    return cooccurrence_sum(storage, bytes, key_buffers.array[key_buffers.current],
                            unit_buffers.array[unit_buffers.current], n, distinct,
                            data<int64_t>(sums), data<int64_t>(runs), stream);
  });
  const int64_t count = to_host(data<int64_t>(runs), 1, stream)[0];
  Tensor cols = empty(keys, count, ScalarType::Int), counts = empty(keys, count, ScalarType::Long);
  launch_cooccurrence_unpack(distinct, count, layout, data<int32_t>(cols),
                             data<int64_t>(rows.row_size) + first_row, stream);
  torch::stable::copy_(counts, torch::stable::narrow(sums, 0, 0, count));
  rows.cols.push_back(cols);
  rows.counts.push_back(counts);
}

// Entries that fit into memory: key and units twice, their sum, and the entry of the result.
template <typename Word>
int64_t most_entries() {
  constexpr int64_t kBytes = 4 * sizeof(Word) + sizeof(int64_t) + 12;
  return std::clamp(cooccurrence_memory() / kBytes, int64_t{1}, kCooccurrenceMaxEntries);
}

// Rows to cut at, the first and the end among them, so that between two are at most `most_rows`
// rows with `most` elements together, or one row.
inline std::vector<int64_t> cut_rows(const std::vector<int64_t>& begins, int64_t most,
                                     int64_t most_rows) {
  const int64_t rows = static_cast<int64_t>(begins.size()) - 1;
  std::vector<int64_t> cuts{0};
  while (cuts.back() < rows) {
    const int64_t first = cuts.back();
    int64_t last = first + 1;
    while (last < rows && last - first < most_rows && begins[last + 1] - begins[first] <= most) {
      ++last;
    }
    cuts.push_back(last);
  }
  return cuts;
}

// ---- merge ----

inline CooccurrenceRows merge_rows(const Checks& check, const std::vector<CooccurrenceRows>& parts,
                                   int64_t vocab_size, void* stream) {
  const Tensor& like = std::get<0>(parts[0]);
  const int64_t rows = like.size(0);
  std::vector<Tensor> begins;
  std::vector<std::vector<int64_t>> host_begins;
  std::vector<int64_t> total(rows + 1);
  for (const auto& [row_size, cols, counts] : parts) {
    Tensor begin = empty(like, rows + 1, ScalarType::Long);
    with_storage(like, [&](void* storage, size_t bytes) {
      return cooccurrence_row_begins(storage, bytes, data<const int64_t>(row_size), rows,
                                     data<int64_t>(begin), stream);
    });
    const auto host = to_host(data<const int64_t>(begin), rows + 1, stream);
    check.that(std::is_sorted(host.begin(), host.end()) && host[rows] == cols.size(0),
               "row_size must add up to ", cols.size(0));
    for (int64_t row = 0; row <= rows; ++row) total[row] += host[row];
    begins.push_back(begin);
    host_begins.push_back(host);
  }

  RowsInParts merged{new_zeros(like, {rows}), {}, {}};
  const auto cuts = cut_rows(total, most_entries<WideWord>(), rows);
  for (size_t c = 0; c + 1 < cuts.size(); ++c) {
    const int64_t first = cuts[c], last = cuts[c + 1], n = total[last] - total[first];
    check.that(n <= kCooccurrenceMaxEntries, "row ", first,
               " must have at most 2^31 - 1 entries in all parts together, got ", n);
    const CooccurrenceKeys layout(last - first, vocab_size);
    Tensor keys = empty(like, n, ScalarType::Long), units = empty(like, n, ScalarType::Long);
    int64_t written = 0;
    for (size_t p = 0; p < parts.size(); ++p) {
      const int64_t entries = host_begins[p][last] - host_begins[p][first];
      launch_cooccurrence_expand(
          data<const int64_t>(begins[p]), data<const int32_t>(std::get<1>(parts[p])),
          data<const int64_t>(std::get<2>(parts[p])), first, last, entries, layout,
          data<WideWord>(keys) + written, data<WideWord>(units) + written, stream);
      written += entries;
    }
    append_entries<WideWord>(merged, first, layout, keys, units, n, stream);
  }
  return join(merged);
}

// ---- rows ----

struct RowsCall {
  const Checks& check;
  CooccurrenceRowsParams params;
  Tensor like;
  void* stream;

  template <typename Word>
  void append(RowsInParts& rows, int64_t first_row, const CooccurrencePart& part) const {
    const int64_t contexts = (part.last - part.first) * cooccurrence_slots(params);
    Tensor keys = empty(like, contexts, kWordType<Word>);
    Tensor units = empty(like, contexts, kWordType<Word>);
    Tensor written = new_zeros(like, {1}, ScalarType::Long);
    launch_cooccurrence_entries(params, part, data<Word>(keys), data<Word>(units),
                                data<WideWord>(written), stream);
    const int64_t n = to_host(data<int64_t>(written), 1, stream)[0];
    const CooccurrenceKeys layout(part.last_row - part.first_row, params.vocab_size);
    append_entries<Word>(rows, first_row, layout, keys, units, n, stream);
  }

  // One row with more contexts than fit: its centres piece by piece, each added to the sum.
  template <typename Word>
  void append_row(RowsInParts& rows, int64_t first_row, const CooccurrencePart& row,
                  int64_t most_centers) const {
    std::vector<CooccurrenceRows> sum;
    for (int64_t first = row.first; first < row.last; first += most_centers) {
      RowsInParts piece{new_zeros(like, {1}, ScalarType::Long), {}, {}};
      const CooccurrencePart centers{row.first_row, row.last_row, first,
                                     std::min(row.last, first + most_centers)};
      append<Word>(piece, 0, centers);
      sum.push_back(join(piece));
      if (sum.size() == 2) sum = {merge_rows(check, sum, params.vocab_size, stream)};
    }
    const auto& [row_size, cols, counts] = sum[0];
    Tensor place = torch::stable::narrow(rows.row_size, 0, first_row, 1);
    torch::stable::copy_(place, row_size);
    rows.cols.push_back(cols);
    rows.counts.push_back(counts);
  }

  template <typename Word>
  CooccurrenceRows count(const std::vector<int64_t>& starts, int64_t most_rows) const {
    RowsInParts rows{
        new_zeros(like, {params.last_row - params.first_row}, ScalarType::Long), {}, {}};
    const int64_t most_centers =
        std::max(int64_t{1}, most_entries<Word>() / cooccurrence_slots(params));
    const auto cuts = cut_rows(starts, most_centers, most_rows);
    for (size_t c = 0; c + 1 < cuts.size(); ++c) {
      const int64_t first = cuts[c], last = cuts[c + 1];
      const CooccurrencePart part{static_cast<int32_t>(params.first_row + first),
                                  static_cast<int32_t>(params.first_row + last), starts[first],
                                  starts[last]};
      if (part.last == part.first) continue;
      if (part.last - part.first <= most_centers) {
        append<Word>(rows, first, part);
      } else {
        append_row<Word>(rows, first, part, most_centers);
      }
    }
    return join(rows);
  }
};

}  // namespace lexforge
