// The CUDA side of co-occurrence counting (contract: cooccurrence.h): steps on raw pointers that
// cooccurrence_ops_cuda.cpp strings together.
//
// Rows are counted by sorting. Every context of a range of rows, or the sum of many equal ones,
// becomes an entry: a key of just enough bits for (row, column), and its units. Entries are sorted
// by key, and runs of equal keys are added up with saturation. The order of entries differs from
// run to run; sums of integers do not.
//
// Keys and units are of one type Word: NarrowWord where both fit, WideWord elsewhere.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "cooccurrence/cooccurrence.h"

namespace lexforge {

// The types that atomics take.
using NarrowWord = unsigned;
using WideWord = unsigned long long;

// Entries of one sort: CUB counts them in 32 bits.
constexpr int64_t kCooccurrenceMaxEntries = INT32_MAX;

// Adds to `outside` how many of x[0 .. n) are outside [low, low + count).
void launch_cooccurrence_check(const int32_t* x, int64_t n, int64_t low, int64_t count,
                               WideWord* outside, void* stream);

// The sentences of tokens `first` and `last - 1`, -1 for a token that is in none, and where the
// first one begins and the last one ends.
struct CooccurrenceSentences {
  int64_t first, last;
  int64_t begin, end;
};

// Finds the sentences of a chunk of one token at least.
void launch_cooccurrence_sentences(const CooccurrenceIndexParams& params,
                                   CooccurrenceSentences* sentences, void* stream);

// The tokens [begin, end) that `padded` holds, and its size.
struct CooccurrenceChunk {
  int64_t begin, end;
  int64_t first_sentence, last_sentence;
  int64_t size;
};

struct CooccurrenceFaults {
  WideWord falling_offsets, outside;  // tokens outside [0, V)
};

// Writes all of params.padded, and for each centre its word and its place there. Adds to `faults`
// what was found; after that nothing written has a meaning.
void launch_cooccurrence_pad(const CooccurrenceIndexParams& params, const CooccurrenceChunk& span,
                             int32_t* words, int32_t* places, CooccurrenceFaults* faults,
                             void* stream);

// Writes params.starts by the centres' words in ascending order.
void launch_cooccurrence_starts(const CooccurrenceIndexParams& params, const int32_t* words,
                                void* stream);

// Largest unit whose contexts are counted in 32 bits. A counter sends on what passes its 32 bits as
// two entries; with units of up to a quarter of that, contexts never give more entries than there
// are contexts.
constexpr int64_t kCooccurrenceNarrowUnit = int64_t{1} << 30;

// Keys are (row - first row) << column_bits | column.
struct CooccurrenceKeys {
  int64_t rows;
  int column_bits;

  CooccurrenceKeys(int64_t rows, int64_t vocab_size)
      : rows(rows), column_bits(bits_for(vocab_size)) {}

  int bits() const { return column_bits + bits_for(rows); }

  // Bits of a number below n; at least one, because a sort of none is no sort.
  static int bits_for(int64_t n) {
    return n <= 2 ? 1 : static_cast<int>(std::bit_width(static_cast<uint64_t>(n - 1)));
  }
};

// The centres [first, last) of params.positions, all of rows [first_row, last_row).
struct CooccurrencePart {
  int32_t first_row, last_row;
  int64_t first, last;
};

// Contexts of a centre, separators among them.
inline int64_t cooccurrence_slots(const CooccurrenceRowsParams& params) {
  return params.symmetric ? 2 * int64_t{params.window} : params.window;
}

// Writes the entries of a part, in any order: at most (last - first) * slots.
//
//   params.padded     in [0, V]
//   params.positions  so that windows lie within `padded`
//   written           one zero; receives the number of entries
template <typename Word>
void launch_cooccurrence_entries(const CooccurrenceRowsParams& params, const CooccurrencePart& part,
                                 Word* keys, Word* units, WideWord* written, void* stream);

// begin[0] = 0, begin[r + 1] = begin[r] + row_size[r]; modulo 2^64 where sizes are nonsense.
// Returns the bytes of storage it wants; only that when storage is null.
size_t cooccurrence_row_begins(void* storage, size_t bytes, const int64_t* row_size, int64_t rows,
                               int64_t* begin, void* stream);

// Writes the entries of rows [first_row, last_row) of a result in compressed rows.
void launch_cooccurrence_expand(const int64_t* begin, const int32_t* cols, const int64_t* counts,
                                int64_t first_row, int64_t last_row, int64_t entries,
                                const CooccurrenceKeys& layout, WideWord* keys, WideWord* units,
                                void* stream);

// Two arrays, of which `current` holds the data.
template <typename T>
struct CooccurrenceBuffers {
  T* array[2];
  int current;
};

// Sorts n entries by the lowest `key_bits` bits of their keys; both arrays of a pair are written.
// Storage as above.
template <typename Word>
size_t cooccurrence_sort(void* storage, size_t bytes, CooccurrenceBuffers<Word>& keys,
                         CooccurrenceBuffers<Word>& units, int64_t n, int key_bits, void* stream);

// Adds up runs of equal keys: distinct keys [runs], counts [runs] and their number. Storage as
// above.
template <typename Word>
size_t cooccurrence_sum(void* storage, size_t bytes, const Word* keys, const Word* units, int64_t n,
                        Word* distinct, int64_t* counts, int64_t* runs, void* stream);

// Columns of sorted distinct keys, and how many there are of each row.
template <typename Word>
void launch_cooccurrence_unpack(const Word* distinct, int64_t n, const CooccurrenceKeys& layout,
                                int32_t* cols, int64_t* row_size, void* stream);

// Copies to the host and waits for it.
void cooccurrence_read(void* host, const void* device, size_t bytes, void* stream);

// Bytes that one sort and its surroundings may take: half of the device's free memory, but a 64th
// of all of it at least, because memory that torch holds for reuse does not count as free.
int64_t cooccurrence_memory();

}  // namespace lexforge
