// Checks that the CPU and the CUDA binding of cooccurrence.h share.
#pragma once

#include <vector>

#include "common/check.h"
#include "cooccurrence/cooccurrence.h"

namespace lexforge {

inline void check_window(const char* op, int64_t window, bool distance_weighting) {
  const int64_t largest = distance_weighting ? kLargestWeightedWindow : kLargestWindow;
  STD_TORCH_CHECK(window >= 1 && window <= largest, op, ": window must be in [1, ", largest,
                  "], got ", window);
}

inline void check_vocab_size(const char* op, int64_t vocab_size) {
  STD_TORCH_CHECK(vocab_size >= 1 && vocab_size < INT32_MAX, op,
                  ": vocab_size must be in [1, 2^31 - 2], got ", vocab_size);
}

// A range of rows or tokens.
inline void check_range(const char* op, const char* names, int64_t first, int64_t last,
                        int64_t size) {
  STD_TORCH_CHECK(first >= 0 && first <= last && last <= size, op, ": ", names,
                  " must be a range within [0, ", size, "], got [", first, ", ", last, ")");
}

// The parts of a merge: lists of one length, shapes that go together.
inline void check_parts(const char* op, const std::vector<Tensor>& row_sizes,
                        const std::vector<Tensor>& cols, const std::vector<Tensor>& counts) {
  STD_TORCH_CHECK(
      !row_sizes.empty() && cols.size() == row_sizes.size() && counts.size() == row_sizes.size(),
      op, ": row_sizes, cols and counts must be lists of one length, at least 1");
  for (size_t p = 0; p < row_sizes.size(); ++p) {
    check_contiguous(row_sizes[p], ScalarType::Long, 1, op, "row_size");
    check_contiguous(cols[p], ScalarType::Int, 1, op, "cols");
    check_contiguous(counts[p], ScalarType::Long, 1, op, "counts");
    check_devices(op, {{"the first row_size", row_sizes[0]},
                       {"row_size", row_sizes[p]},
                       {"cols", cols[p]},
                       {"counts", counts[p]}});
    STD_TORCH_CHECK(row_sizes[p].size(0) == row_sizes[0].size(0), op,
                    ": parts must have the same rows, got ", row_sizes[0].size(0), " and ",
                    row_sizes[p].size(0));
    STD_TORCH_CHECK(counts[p].size(0) == cols[p].size(0), op, ": counts must be [", cols[p].size(0),
                    "], got [", counts[p].size(0), "]");
  }
}

}  // namespace lexforge
