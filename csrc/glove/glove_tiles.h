// From a co-occurrence matrix in compressed rows to tiles in training order (GloveTiles of
// glove_train.h): the contract of lexforge::glove_deal_parts and lexforge::glove_tiles.
//
// Dealing. Words come by falling number of entries, equal ones in random order, and go to the P
// parts in hands of P words, one word to each part: in every hand the part with the fewest entries
// so far gets the word with the most, parts that are level in random order. So parts differ by at
// most one word, and by about as few entries as is possible.
//
// Tiles. Rows of part p come in random order, the same in all tiles (p, q); the entries of a row in
// random order over the whole row, hence also in each of its segments. A row without entries in a
// tile has no segment there; x becomes log x, computed in double.
//
// Random words are those of stream kTiles at epoch 0, four positions to a quad:
//   slot 0  position = word: ties in dealing
//   slot 1  position = hand P + part: parts that are level in dealing
//   slot 2  position = row: rows of a part ascend by (random word, row)
//   slot 3  position = entry e: Fisher-Yates from the front, within a row of n entries the one at k
//           changes places with the one at k + bounded(word, n - k)
// so the tiles depend on the matrix, the parts and the seed alone.
#pragma once

#include <cstdint>

namespace lexforge {

struct GloveTilesParams {
  const int64_t* row_begin;  // [V + 1], rises from 0 to nnz
  const int32_t* cols;       // [nnz] at cols[e * col_stride], in [0, V)
  const double* values;      // [nnz] at values[e * value_stride], finite and > 0
  const int32_t* part;       // [V], in [0, P)
  int64_t col_stride, value_stride;
  int64_t vocab_size;  // V
  int64_t parts;       // P
  int64_t first_part, last_part;
  uint64_t seed;
};

// Why an entry cannot be used.
enum class GloveTilesProblem : int64_t { kNone = 0, kColumn = 1, kValue = 2 };

}  // namespace lexforge
