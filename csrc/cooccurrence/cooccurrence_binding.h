// The body of cooccurrence.h's ops on any device: their checks. A device finds out about the
// content of the arrays while it works on them.
#pragma once

#include <tuple>
#include <vector>

#include "common/binding.h"
#include "cooccurrence/cooccurrence.h"

namespace lexforge {

using CooccurrenceRows = std::tuple<Tensor, Tensor, Tensor>;  // row_size, cols, counts

inline void check_window(const Checks& check, int64_t window, bool distance_weighting) {
  const int64_t largest = distance_weighting ? kLargestWeightedWindow : kLargestWindow;
  check.that(window >= 1 && window <= largest, "window must be in [1, ", largest, "], got ",
             window);
}

inline void check_vocab_size(const Checks& check, int64_t vocab_size) {
  check.that(vocab_size >= 1 && vocab_size < INT32_MAX, "vocab_size must be in [1, 2^31 - 2], got ",
             vocab_size);
}

// (padded, starts, positions).
template <typename Device>
std::tuple<Tensor, Tensor, Tensor> cooccurrence_index(const Tensor& tokens, const Tensor& offsets,
                                                      int64_t first, int64_t last,
                                                      int64_t vocab_size, int64_t window,
                                                      bool cross_sentences, int64_t threads) {
  const Checks check("cooccurrence_index", "tokens", tokens);
  check.tensor("tokens", tokens, ScalarType::Int, {Checks::kAny});
  check.tensor("offsets", offsets, ScalarType::Long, {Checks::kAny});
  check_vocab_size(check, vocab_size);
  check_window(check, window, false);
  check.that(offsets.size(0) >= 1, "offsets must be [S + 1], got [0]");
  check.range("first and last", first, last, tokens.size(0));
  CooccurrenceIndexParams params{.tokens = data<const int32_t>(tokens),
                                 .offsets = data<const int64_t>(offsets),
                                 .sentences = offsets.size(0) - 1,
                                 .token_count = tokens.size(0),
                                 .first = first,
                                 .last = last,
                                 .vocab_size = static_cast<int32_t>(vocab_size),
                                 .window = static_cast<int32_t>(window),
                                 .cross_sentences = cross_sentences,
                                 .padded = nullptr,
                                 .starts = nullptr,
                                 .positions = nullptr};
  return Device(tokens).index(check, params, tokens, threads);
}

template <typename Device>
CooccurrenceRows cooccurrence_rows(const Tensor& padded, const Tensor& starts,
                                   const Tensor& positions, int64_t first_row, int64_t last_row,
                                   int64_t window, bool symmetric, bool distance_weighting,
                                   int64_t threads) {
  const Checks check("cooccurrence_rows", "padded", padded);
  check.tensor("padded", padded, ScalarType::Int, {Checks::kAny});
  check.tensor("starts", starts, ScalarType::Long, {Checks::kAny});
  check.tensor("positions", positions, ScalarType::Int, {Checks::kAny});
  const int64_t vocab_size = starts.size(0) - 1;
  check_vocab_size(check, vocab_size);
  check_window(check, window, distance_weighting);
  check.range("first_row and last_row", first_row, last_row, vocab_size);
  check.that(padded.size(0) <= INT32_MAX, "padded must have fewer than 2^31 elements, got ",
             padded.size(0));
  const CooccurrenceRowsParams params{.padded = data<const int32_t>(padded),
                                      .starts = data<const int64_t>(starts),
                                      .positions = data<const int32_t>(positions),
                                      .vocab_size = static_cast<int32_t>(vocab_size),
                                      .window = static_cast<int32_t>(window),
                                      .symmetric = symmetric,
                                      .distance_weighting = distance_weighting,
                                      .first_row = static_cast<int32_t>(first_row),
                                      .last_row = static_cast<int32_t>(last_row)};
  return Device(padded).rows(check, params, padded, positions.size(0), threads);
}

template <typename Device>
CooccurrenceRows cooccurrence_merge(const std::vector<Tensor>& row_sizes,
                                    const std::vector<Tensor>& cols,
                                    const std::vector<Tensor>& counts, int64_t vocab_size,
                                    int64_t threads) {
  if (row_sizes.empty() || cols.size() != row_sizes.size() || counts.size() != row_sizes.size()) {
    fail("cooccurrence_merge: row_sizes, cols and counts must be lists of one length, at least 1");
  }
  const Checks check("cooccurrence_merge", "the first row_size", row_sizes[0]);
  check_vocab_size(check, vocab_size);
  std::vector<CooccurrenceRows> parts;
  for (size_t p = 0; p < row_sizes.size(); ++p) {
    check.tensor("row_size", row_sizes[p], ScalarType::Long,
                 {p == 0 ? Checks::kAny : row_sizes[0].size(0)});
    check.tensor("cols", cols[p], ScalarType::Int, {Checks::kAny});
    check.tensor("counts", counts[p], ScalarType::Long, {cols[p].size(0)});
    parts.emplace_back(row_sizes[p], cols[p], counts[p]);
  }
  check.that(row_sizes[0].size(0) <= INT32_MAX, "parts must have fewer than 2^31 rows, got ",
             row_sizes[0].size(0));
  return Device(row_sizes[0]).merge(check, parts, vocab_size, threads);
}

}  // namespace lexforge
