// CUDA binding of cooccurrence.h. A range of rows is cut into parts whose entries fit into the free
// memory, and into 31 bits; their results are put together.
#include <algorithm>
#include <tuple>
#include <vector>

#include "common/cuda_binding.h"
#include "cooccurrence/cooccurrence_binding.h"
#include "cooccurrence/cooccurrence_cuda.h"

namespace lexforge {
namespace {

using Rows = std::tuple<Tensor, Tensor, Tensor>;  // row_size, cols, counts

Tensor empty(const Tensor& like, int64_t n, ScalarType dtype) {
  return torch::stable::new_empty(like, {n}, dtype);
}

// Words are kept in tensors of the signed type of their size.
template <typename Word>
constexpr ScalarType kWordType = sizeof(Word) == 4 ? ScalarType::Int : ScalarType::Long;

// Calls an algorithm for the bytes it wants, and again with them. Without storage it would tell the
// bytes once more, so there is always some.
template <typename Algorithm>
void with_storage(const Tensor& like, Algorithm algorithm) {
  const size_t bytes = std::max(algorithm(nullptr, 0), size_t{1});
  Tensor storage = empty(like, static_cast<int64_t>(bytes), ScalarType::Byte);
  algorithm(storage.data_ptr(), bytes);
}

template <typename T>
std::vector<T> to_host(const T* device, int64_t n, void* stream) {
  std::vector<T> host(static_cast<size_t>(n));
  cooccurrence_read(host.data(), device, host.size() * sizeof(T), stream);
  return host;
}

// ---- index ----

Rows index(const Tensor& tokens, const Tensor& offsets, int64_t first, int64_t last,
           int64_t vocab_size, int64_t window, bool cross_sentences, int64_t /*threads*/) {
  const char* op = "cooccurrence_index";
  check_contiguous(tokens, ScalarType::Int, 1, op, "tokens");
  check_contiguous(offsets, ScalarType::Long, 1, op, "offsets");
  check_devices(op, {{"tokens", tokens}, {"offsets", offsets}});
  check_vocab_size(op, vocab_size);
  check_window(op, window, false);
  STD_TORCH_CHECK(offsets.size(0) >= 1, op, ": offsets must be [S + 1], got [0]");
  check_range(op, "first and last", first, last, tokens.size(0));
  const int64_t centers = last - first;
  STD_TORCH_CHECK(centers <= INT32_MAX, op, ": a chunk must have fewer than 2^31 tokens, got ",
                  centers);
  const CudaCall call(tokens);
  void* stream = call.stream();
  if (centers == 0) {
    return {empty(tokens, 0, ScalarType::Int),
            torch::stable::new_zeros(tokens, {vocab_size + 1}, ScalarType::Long),
            empty(tokens, 0, ScalarType::Int)};
  }

  CooccurrenceIndexParams params{};
  params.tokens = data<const int32_t>(tokens);
  params.offsets = data<const int64_t>(offsets);
  params.sentences = offsets.size(0) - 1;
  params.token_count = tokens.size(0);
  params.first = first;
  params.last = last;
  params.vocab_size = static_cast<int32_t>(vocab_size);
  params.window = static_cast<int32_t>(window);
  params.cross_sentences = cross_sentences;

  CooccurrenceSentences sentences{0, 0, 0, tokens.size(0)};
  if (!cross_sentences) {
    Tensor found = empty(offsets, sizeof sentences / sizeof(int64_t), ScalarType::Long);
    auto* device = static_cast<CooccurrenceSentences*>(found.data_ptr());
    launch_cooccurrence_sentences(params, device, stream);
    cooccurrence_read(&sentences, device, sizeof sentences, stream);
    STD_TORCH_CHECK(0 <= sentences.first && sentences.first <= sentences.last &&
                        0 <= sentences.begin && sentences.end <= tokens.size(0),
                    op, ": offsets must rise from 0 to ", tokens.size(0));
  }
  CooccurrenceChunk span{};
  span.begin = std::max(first - window, sentences.begin);
  span.end = std::min(last + window, sentences.end);
  span.first_sentence = sentences.first;
  span.last_sentence = sentences.last;
  span.size = window * (2 + sentences.last - sentences.first) + span.end - span.begin;
  STD_TORCH_CHECK(span.size <= INT32_MAX, op,
                  ": a chunk with its separators must have fewer than 2^31 elements, got ",
                  span.size);

  Tensor padded = empty(tokens, span.size, ScalarType::Int);
  Tensor starts = empty(tokens, vocab_size + 1, ScalarType::Long);
  Tensor words[2], places[2];
  for (int i = 0; i < 2; ++i) {
    words[i] = empty(tokens, centers, ScalarType::Int);
    places[i] = empty(tokens, centers, ScalarType::Int);
  }
  Tensor faults = torch::stable::new_zeros(offsets, {sizeof(CooccurrenceFaults) / sizeof(int64_t)});
  params.padded = data<int32_t>(padded);
  params.starts = data<int64_t>(starts);
  launch_cooccurrence_pad(params, span, data<int32_t>(words[0]), data<int32_t>(places[0]),
                          data<CooccurrenceFaults>(faults), stream);
  CooccurrenceBuffers<NarrowWord> keys{{data<NarrowWord>(words[0]), data<NarrowWord>(words[1])}, 0};
  CooccurrenceBuffers<NarrowWord> values{{data<NarrowWord>(places[0]), data<NarrowWord>(places[1])},
                                         0};
  with_storage(tokens, [&](void* storage, size_t bytes) {
    return cooccurrence_sort(storage, bytes, keys, values, centers,
                             CooccurrenceKeys::bits_for(vocab_size), stream);
  });
  launch_cooccurrence_starts(params, data<int32_t>(words[keys.current]), stream);
  const auto fault = to_host(data<CooccurrenceFaults>(faults), 1, stream)[0];
  STD_TORCH_CHECK(fault.falling_offsets == 0, op, ": offsets must rise from 0 to ", tokens.size(0));
  STD_TORCH_CHECK(fault.outside == 0, op, ": tokens must be in [0, ", vocab_size, ")");
  return {padded, starts, places[values.current]};
}

// ---- from entries to rows ----

// Where the sizes of all rows go, and the entries of some consecutive rows at a time.
struct RowsInParts {
  Tensor row_size;
  std::vector<Tensor> cols, counts;
};

Tensor join(const Tensor& like, const std::vector<Tensor>& parts, ScalarType dtype) {
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

Rows join(const RowsInParts& rows) {
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
std::vector<int64_t> cut_rows(const std::vector<int64_t>& begins, int64_t most, int64_t most_rows) {
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

Rows merge_rows(const std::vector<Rows>& parts, int64_t vocab_size, void* stream) {
  const char* op = "cooccurrence_merge";
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
    STD_TORCH_CHECK(std::is_sorted(host.begin(), host.end()) && host[rows] == cols.size(0), op,
                    ": row_size must add up to ", cols.size(0));
    for (int64_t row = 0; row <= rows; ++row) total[row] += host[row];
    begins.push_back(begin);
    host_begins.push_back(host);
  }

  RowsInParts merged{torch::stable::new_zeros(like, {rows}), {}, {}};
  const auto cuts = cut_rows(total, most_entries<WideWord>(), rows);
  for (size_t c = 0; c + 1 < cuts.size(); ++c) {
    const int64_t first = cuts[c], last = cuts[c + 1], n = total[last] - total[first];
    STD_TORCH_CHECK(n <= kCooccurrenceMaxEntries, op, ": row ", first,
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

Rows merge(const std::vector<Tensor>& row_sizes, const std::vector<Tensor>& cols,
           const std::vector<Tensor>& counts, int64_t vocab_size, int64_t /*threads*/) {
  const char* op = "cooccurrence_merge";
  check_vocab_size(op, vocab_size);
  check_parts(op, row_sizes, cols, counts);
  STD_TORCH_CHECK(row_sizes[0].size(0) <= INT32_MAX, op,
                  ": parts must have fewer than 2^31 rows, got ", row_sizes[0].size(0));
  const CudaCall call(row_sizes[0]);
  Tensor faults = torch::stable::new_zeros(row_sizes[0], {1});
  for (const Tensor& part : cols) {
    launch_cooccurrence_check(data<const int32_t>(part), part.size(0), 0, vocab_size,
                              data<WideWord>(faults), call.stream());
  }
  STD_TORCH_CHECK(to_host(data<const WideWord>(faults), 1, call.stream())[0] == 0, op,
                  ": cols must be in [0, ", vocab_size, ")");
  std::vector<Rows> parts;
  for (size_t p = 0; p < cols.size(); ++p) parts.emplace_back(row_sizes[p], cols[p], counts[p]);
  return merge_rows(parts, vocab_size, call.stream());
}

// ---- rows ----

struct RowsCall {
  CooccurrenceRowsParams params;
  Tensor like;
  void* stream;

  template <typename Word>
  void append(RowsInParts& rows, int64_t first_row, const CooccurrencePart& part) const {
    const int64_t contexts = (part.last - part.first) * cooccurrence_slots(params);
    Tensor keys = empty(like, contexts, kWordType<Word>);
    Tensor units = empty(like, contexts, kWordType<Word>);
    Tensor written = torch::stable::new_zeros(like, {1}, ScalarType::Long);
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
    std::vector<Rows> sum;
    for (int64_t first = row.first; first < row.last; first += most_centers) {
      RowsInParts piece{torch::stable::new_zeros(like, {1}, ScalarType::Long), {}, {}};
      const CooccurrencePart centers{row.first_row, row.last_row, first,
                                     std::min(row.last, first + most_centers)};
      append<Word>(piece, 0, centers);
      sum.push_back(join(piece));
      if (sum.size() == 2) sum = {merge_rows(sum, params.vocab_size, stream)};
    }
    const auto& [row_size, cols, counts] = sum[0];
    Tensor place = torch::stable::narrow(rows.row_size, 0, first_row, 1);
    torch::stable::copy_(place, row_size);
    rows.cols.push_back(cols);
    rows.counts.push_back(counts);
  }

  template <typename Word>
  Rows count(const std::vector<int64_t>& starts, int64_t most_rows) const {
    RowsInParts rows{
        torch::stable::new_zeros(like, {params.last_row - params.first_row}, ScalarType::Long),
        {},
        {}};
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

// Most parts for the sake of keys that fit into a NarrowWord: each costs two waits of the host and
// a dozen kernel starts, while keys of twice the size cost half as much again in the sort.
constexpr int64_t kMostNarrowParts = 64;

Rows rows(const Tensor& padded, const Tensor& starts, const Tensor& positions, int64_t first_row,
          int64_t last_row, int64_t window, bool symmetric, bool distance_weighting,
          int64_t /*threads*/) {
  const char* op = "cooccurrence_rows";
  check_contiguous(padded, ScalarType::Int, 1, op, "padded");
  check_contiguous(starts, ScalarType::Long, 1, op, "starts");
  check_contiguous(positions, ScalarType::Int, 1, op, "positions");
  check_devices(op, {{"padded", padded}, {"starts", starts}, {"positions", positions}});
  const int64_t vocab_size = starts.size(0) - 1;
  check_vocab_size(op, vocab_size);
  check_window(op, window, distance_weighting);
  check_range(op, "first_row and last_row", first_row, last_row, vocab_size);
  const CudaCall call(padded);
  const int64_t rows = last_row - first_row;
  const auto host_starts =
      to_host(data<const int64_t>(starts) + first_row, rows + 1, call.stream());
  STD_TORCH_CHECK(host_starts[0] >= 0 && std::is_sorted(host_starts.begin(), host_starts.end()) &&
                      host_starts[rows] <= positions.size(0),
                  op, ": starts must rise from 0 to ", positions.size(0));

  const int64_t size = padded.size(0), centers = host_starts[rows] - host_starts[0];
  STD_TORCH_CHECK(size <= INT32_MAX, op, ": padded must have fewer than 2^31 elements, got ", size);
  Tensor faults = torch::stable::new_zeros(starts, {2});
  launch_cooccurrence_check(data<const int32_t>(padded), size, 0, vocab_size + 1,
                            data<WideWord>(faults), call.stream());
  launch_cooccurrence_check(data<const int32_t>(positions) + host_starts[0], centers, window,
                            std::max(size - 2 * window, int64_t{0}), data<WideWord>(faults) + 1,
                            call.stream());
  const auto outside = to_host(data<const WideWord>(faults), 2, call.stream());
  STD_TORCH_CHECK(outside[0] == 0, op, ": padded must be in [0, ", vocab_size, "]");
  STD_TORCH_CHECK(outside[1] == 0, op, ": positions must be in [window, size of padded - window)");

  CooccurrenceRowsParams params{};
  params.padded = data<const int32_t>(padded);
  params.starts = data<const int64_t>(starts);
  params.positions = data<const int32_t>(positions);
  params.vocab_size = static_cast<int32_t>(vocab_size);
  params.window = static_cast<int32_t>(window);
  params.symmetric = symmetric;
  params.distance_weighting = distance_weighting;
  params.first_row = static_cast<int32_t>(first_row);
  params.last_row = static_cast<int32_t>(last_row);
  const RowsCall rows_call{params, padded, call.stream()};

  const int row_bits = 32 - CooccurrenceKeys::bits_for(vocab_size);
  const int64_t narrow_rows = int64_t{1} << row_bits;
  if (cooccurrence_unit(params.window, distance_weighting) <= kCooccurrenceNarrowUnit &&
      rows <= kMostNarrowParts * narrow_rows) {
    return rows_call.count<NarrowWord>(host_starts, narrow_rows);
  }
  return rows_call.count<WideWord>(host_starts, rows);
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("cooccurrence_index", TORCH_BOX(&lexforge::index));
  m.impl("cooccurrence_rows", TORCH_BOX(&lexforge::rows));
  m.impl("cooccurrence_merge", TORCH_BOX(&lexforge::merge));
}
