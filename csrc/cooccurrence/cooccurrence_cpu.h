// The CPU kernels of co-occurrence counting (contract: cooccurrence.h).
//
// A row is added up in an array over the columns, and read out of it in ascending order in one of
// two ways. A sparse row lists the columns that it touches, and a bitmap sorts them. A dense row
// keeps no list: the whole array is searched for what is not zero. Additions are scalar code, bound
// by loads and stores; bit scans and the search are what other instruction sets speed up.
#pragma once

#include <cstdint>

#include "cooccurrence/cooccurrence.h"

namespace lexforge {

// A row of at most this many additions is sparse.
constexpr int64_t most_sparse(int64_t vocab_size) { return vocab_size / 8; }

// Arrays of one thread; the sums, bits and marks are zero between rows.
struct CooccurrenceScratch {
  uint64_t* sum;     // [V + 1] the last one takes what meets a separator
  int32_t* touched;  // [most_sparse + 1] columns in the order of their first addition
  uint64_t* bits;    // [V / 64 + 1] the touched columns
  uint8_t* marks;    // [V / 64 + 64] 1 for each word of `bits` that is not zero
};

// Which tokens `padded` holds, and where.
struct CooccurrenceSpan {
  int64_t begin, end;       // tokens
  int64_t s_first, s_last;  // their sentences
  int64_t window;

  int64_t size() const { return window * (2 + s_last - s_first) + end - begin; }
  int64_t at(int64_t token, int64_t sentence) const {
    return window * (1 + sentence - s_first) + token - begin;
  }
};

// The span of params.first .. last. False where offsets do not rise from 0 to N around it.
bool cooccurrence_span(const CooccurrenceIndexParams& params, CooccurrenceSpan& span);

// Writes the separators before sentences [s_begin, s_end).
void write_separators(const CooccurrenceIndexParams& params, const CooccurrenceSpan& span,
                      int64_t s_begin, int64_t s_end);

// Copies tokens [begin, end) to their places and adds the centres among them to count[V] by word.
// False where one is not in [0, V).
bool copy_tokens(const CooccurrenceIndexParams& params, const CooccurrenceSpan& span, int64_t begin,
                 int64_t end, int32_t* count);

// Writes the positions of the centres among tokens [begin, end); those of word i go from
// positions[place[i]] on, and place[i] moves along.
void write_positions(const CooccurrenceIndexParams& params, const CooccurrenceSpan& span,
                     int64_t begin, int64_t end, int32_t* place);

// Adds the windows around params.positions[begin .. end) to scratch.sum. Lists the columns when
// `sparse`, and returns their number. `saturate` is needed where a sum can pass 2^63.
int64_t add_windows(const CooccurrenceRowsParams& params, const int64_t* units, int64_t begin,
                    int64_t end, bool sparse, bool saturate, const CooccurrenceScratch& scratch);

// Adds entries of a counted row, in the same manner, always saturating.
int64_t add_entries(const int32_t* cols, const int64_t* counts, int64_t entries, int64_t listed,
                    bool sparse, const CooccurrenceScratch& scratch);

// Moving a row out of the scratch, columns ascending. take_sparse sorts the `listed` columns and
// returns the size of the row; it writes up to three cols more. take_dense is told the size, which
// count_dense finds.
#define LEXFORGE_COOCCURRENCE_CPU(isa)                                                           \
  namespace isa {                                                                                \
  int64_t take_sparse(const CooccurrenceScratch& scratch, int64_t listed, int32_t* cols,         \
                      int64_t* counts);                                                          \
  int64_t count_dense(const uint64_t* sum, int64_t size);                                        \
  void take_dense(uint64_t* sum, int64_t size, int64_t entries, int32_t* cols, int64_t* counts); \
  }
LEXFORGE_COOCCURRENCE_CPU(baseline)
LEXFORGE_COOCCURRENCE_CPU(avx2)
LEXFORGE_COOCCURRENCE_CPU(avx512)
#undef LEXFORGE_COOCCURRENCE_CPU

}  // namespace lexforge
