// Float32 products on units that multiply bfloat16: the contract of lexforge::split_product_. CPU
// with AMX only.
//
//   y[m, n] = bias[n] + sum over k of left[m, k] right[k, n]     or += the sum, if add
//   sums[m] = sum over k of left[m, k]                           or += that, if add
//
// A float32 is the exact sum of three bfloat16, the parts: 8 + 8 + 8 bits. A product of two is that
// of their first parts, of a first and a second and so on; the six whose parts add up to less than
// three are multiplied in tiles and summed in float32, the other three are below 2^-23 of it. Sums
// of 16 numbers at a time, the small products before the large ones, and segments on their own
// round less than a chain of multiply-adds: from some 32 terms on the error is below that of a
// float32 product (tests/transformer/test_split_product.py).
//
// Tiles take numbers below 2^-126 for zeros and give zeros for them. `ValueRange` tells whether
// that matters; such matrices, and those with an infinity or NaN, are the library's.
//
// k is summed in segments of 128, in order: bit-identical for any number of threads, M and N.
//
// Matrices of bfloat16 have one part, which may also be the rounding of a float32: the same tiles,
// for causal_block.h. Sums are float32; a result of bfloat16 is rounded once.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"

namespace lexforge {

// A matrix of which one index moves along memory: element (i, k) is data[i * free + k * summed],
// and one of the two steps is 1. i is the index that is left, k the one that is summed over.
template <typename T>
struct SplitOperand {
  const T* data;
  int64_t free, summed;
};

template <typename L, typename R, typename Y>
struct SplitProductParams {
  SplitOperand<L> left;
  SplitOperand<R> right;
  int64_t rows, columns, depth;  // M, N, K
  Y* y;                          // [M, N], contiguous
  const float* bias;             // [N], or null; not with `add`
  float* sums;                   // [M], or null; left.free is 1 if it is there
  bool add;                      // float32 y only
};

// Of the magnitudes of a matrix, as bits of a float: the largest, and the least but zero, less 1.
struct ValueRange {
  uint32_t largest = 0, least = UINT32_MAX;
  void include(const ValueRange& other) {
    largest = other.largest > largest ? other.largest : largest;
    least = other.least < least ? other.least : least;
  }
};

// A part of the sums, and of the columns: `depth` of k from `first`, a multiple of kSplitSegment.
struct SplitBlock {
  int64_t first, depth;
  int64_t first_column, columns;  // first_column a multiple of kSplitColumns
};
constexpr int64_t kSplitStep = 32;      // of k
constexpr int64_t kSplitSegment = 128;  // of k, summed on their own before they are added to y
constexpr int64_t kSplitRows = 32;      // of y that are made at a time
constexpr int64_t kSplitColumns = 32;   // of a panel of the right matrix
constexpr int kSplitParts = 3;          // of a float32

constexpr int64_t split_units(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

// Bytes of a packed panel of either matrix: 32 rows or columns.
constexpr int64_t split_panel_bytes(int64_t depth, int parts = kSplitParts) {
  return split_units(depth, kSplitStep) * kSplitStep * 32 * parts * 2;
}

namespace amx {

// Of vectors [first, last) of the matrix, each of which lies along memory; `length` numbers each.
ValueRange split_range(const SplitOperand<float>&, int64_t first, int64_t last, int64_t length);

// Whether the products of two matrices of such values are right to float32.
bool split_is_exact(const ValueRange& left, const ValueRange& right, int64_t depth);

// Packs panels [first, last) of a block of the right matrix, to where they lie in `packed`; what
// passed by.
template <int kParts, typename L, typename R, typename Y>
ValueRange split_pack(const SplitProductParams<L, R, Y>&, const SplitBlock&, int64_t first,
                      int64_t last, void* packed);

// Rows [first_row, last_row) of y, and panels [first, last) of a block: adds the block's products.
// first_row is a multiple of kSplitRows. `workspace` is a panel of the left matrix; of that, what
// passed by.
template <int kParts, typename L, typename R, typename Y>
ValueRange split_multiply(const SplitProductParams<L, R, Y>&, const SplitBlock&, const void* packed,
                          int64_t first_row, int64_t last_row, int64_t first, int64_t last,
                          void* workspace);

}  // namespace amx
}  // namespace lexforge
