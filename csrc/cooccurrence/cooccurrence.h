// Windowed co-occurrence counts of an encoded corpus, exact: the contract of
// lexforge::cooccurrence_index, cooccurrence_rows and cooccurrence_merge.
//
//   X[i, j] = sum over positions p with token[p] = i, distances d = 1..window, and
//             q = p + d  (and, when symmetric, q = p - d) in the same sentence with token[q] = j
//             of weight(d)
//   weight(d) = 1/d (distance weighting) or 1, counted in whole units of 1/unit:
//   unit      = lcm(1..window)           or 1, so units(d) = unit / d    or 1
//
// Sums are integers: they depend neither on the order of addition nor on threads, devices or the
// way a corpus is cut. A sum that would reach 2^63 stays at 2^63 - 1, which says "overflow".
// One-sided counts look to the right only: row i is the left word, column j the right one.
//
// Counting goes row by row. A chunk of centres [first, last) is indexed by word:
//
//   padded     the chunk's tokens and up to `window` neighbours on each side of it, with `window`
//              times the id V (no word) before, after, and at every sentence's begin. No window
//              that starts at a token reaches past the separators, so no loop asks where a sentence
//              ends. Exactly, with s_first and s_last the sentences of tokens first and last - 1:
//                begin = max(first - window, offsets[s_first])
//                end   = min(last + window, offsets[s_last + 1])
//                token p of sentence s, begin <= p < end, is
//                  padded[window * (1 + s - s_first) + p - begin]
//                size  = window * (2 + s_last - s_first) + end - begin, and 0 for an empty chunk
//   positions  indices into `padded` of the centres, by word, ascending for each word
//   starts     [V + 1] centres of word i are positions[starts[i] .. starts[i + 1])
//
// and rows are counted from their positions, in an array over the columns. The counts of chunks are
// merged by adding equal entries, which is exact again.
//
// A result is in compressed rows: `row_size` [R] entries per row, columns ascending within a row,
// counts > 0. A word without a neighbour has no entries; so has an empty chunk.
//
// Memory on the CPU: a row has at most min(V, (1 or 2) * window * centres of its word) entries, a
// merged one at most min(V, entries of the parts' rows), of 12 bytes each. The result is reserved
// for the sum of that over the rows, and takes up as much of it as there are entries. To this add
// for each thread 11 V bytes and 0.1 MB, and 4 V bytes while indexing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/host_device.h"

namespace lexforge {

// lcm(1..window) is 2520 at 10, 360360 at 15, 232792560 at 20, and passes 2^63 at 43.
constexpr int32_t kLargestWeightedWindow = 42;
constexpr int32_t kLargestWindow = 1000;
constexpr int64_t kCooccurrenceOverflow = INT64_MAX;

inline int64_t cooccurrence_unit(int32_t window, bool distance_weighting) {
  int64_t unit = 1;
  for (int64_t d = 2; distance_weighting && d <= window; ++d) {
    int64_t a = unit, b = d;  // greatest common divisor
    while (b != 0) {
      const int64_t rest = a % b;
      a = b;
      b = rest;
    }
    unit *= d / a;
  }
  return unit;
}

// a + b for counts, 2^63 - 1 when it would be more.
LEXFORGE_HOST_DEVICE int64_t cooccurrence_add(int64_t a, int64_t b) {
  const uint64_t sum = static_cast<uint64_t>(a) + static_cast<uint64_t>(b);
  return static_cast<int64_t>(sum < static_cast<uint64_t>(INT64_MAX) ? sum : INT64_MAX);
}

struct CooccurrenceIndexParams {
  const int32_t* tokens;   // [N] encoded corpus, 0 <= id < V
  const int64_t* offsets;  // [S + 1] sentence s is tokens[offsets[s] .. offsets[s + 1])
  int64_t sentences;       // S
  int64_t token_count;     // N
  int64_t first, last;     // centres: 0 <= first <= last <= N
  int32_t vocab_size;      // V
  int32_t window;
  bool cross_sentences;  // the corpus is one long sentence
  int32_t* padded;       // [padded size] < 2^31
  int64_t* starts;       // [V + 1]
  int32_t* positions;    // [last - first]
};

struct CooccurrenceRowsParams {
  const int32_t* padded;
  const int64_t* starts;     // [V + 1]
  const int32_t* positions;  // [centres]
  int32_t vocab_size;
  int32_t window;
  bool symmetric;
  bool distance_weighting;
  int32_t first_row, last_row;  // R = last_row - first_row
};

}  // namespace lexforge
