// The rows of a table that are nearest to queries by cosine: the contract of
// lexforge::cosine_top_k. The matrix of all scores never exists.
//
//   u[q]        = queries[q] / max(|queries[q]|, 1e-12)
//   score[q, v] = (u[q] . table[v]) * (1 / max(norms[v], 1e-12))
//   ids[q], scores[q] = the K first of the rows first <= v < last that are not in excluded[q],
//     sorted by score, descending; equal scores (0 and -0 are) by row, ascending; NaN after all
//     numbers, by row
//
// norms are the lengths of the table's rows; whose they are is not looked at. A row or a query of
// zeros has score 0. Where fewer than K rows are left, the rest of ids is -1 and of scores minus
// infinity. |queries[q]| is added up in double, u is float32; so are products and sums, whatever the
// table is. The bits of score[q, v] depend on the device or instruction set, and on nothing else
// than queries[q], table[v] and norms[v]: not on Q, the other rows, or the number of threads.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"

namespace lexforge {

// scalar_t is float, Bfloat16 or Half.
template <typename scalar_t>
struct CosineTopKParams {
  const scalar_t* table;         // [V, D] rows `stride` apart; V < 2^31
  const float* norms;            // [V]
  const float* queries;          // [Q, D]
  const int64_t* excluded;       // [Q, E] rows, in any order; other numbers are nobody's. Or null
  int64_t stride, dim;           // D >= 0
  int64_t count, most_excluded;  // Q, E
  int64_t first, last;           // 0 <= first <= last <= V
  int64_t k;                     // K >= 1
  int64_t* ids;                  // [Q, K]
  float* scores;                 // [Q, K]
};

constexpr double kLeastNorm = 1e-12;

// CPU: the search of some rows for some queries.

// The best rows so far of one query. When `ranks` is full, keep_best() drops all but the k best,
// after which a score that is not above `threshold` need not be looked at.
struct BestRanks {
  uint64_t* ranks;  // [capacity]
  int64_t capacity, size;
  uint64_t least;   // the k-th best as of the last keep_best(); before it kNoRank
  float threshold;  // its score
  bool selective;   // it is that of a number
};
void keep_best(BestRanks& best, int64_t k);

// Queries of length 1, each of `padded_dim` floats, with zeros beyond D.
struct UnitQueries {
  const float* values;      // [count, padded_dim] at a 64-byte boundary
  const int64_t* excluded;  // [count, most_excluded] or null
  int64_t count, padded_dim, most_excluded;
};
constexpr int64_t padded_dim(int64_t dim) { return (dim + 15) / 16 * 16; }
void write_unit_query(const float* query, int64_t dim, float* to);

// Adds what is good enough of rows [first, last) to best[q] of every query. Rows of one BestRanks
// come in ascending order. The workspace has so many floats, at a 64-byte boundary.
#define LEXFORGE_DECLARE_COSINE_TOP_K(isa)                                               \
  namespace isa {                                                                        \
  int64_t search_workspace(int64_t dim);                                                 \
  template <typename scalar_t>                                                           \
  void search_rows(const CosineTopKParams<scalar_t>&, const UnitQueries&, int64_t first, \
                   int64_t last, BestRanks* best, float* workspace);                     \
  }
LEXFORGE_DECLARE_COSINE_TOP_K(baseline)
LEXFORGE_DECLARE_COSINE_TOP_K(avx2)
LEXFORGE_DECLARE_COSINE_TOP_K(avx512)
#undef LEXFORGE_DECLARE_COSINE_TOP_K

// CUDA. A pass over the table finds so many rows of each query; for a larger K there are more. At
// most so many queries go at a time.
constexpr int64_t kRanksPerPass = 128, kQueriesPerLaunch = 2048;

// What launch_cosine_top_k works in, in numbers of eight bytes.
template <typename scalar_t>
int64_t cosine_top_k_workspace(const CosineTopKParams<scalar_t>& params);
template <typename scalar_t>
void launch_cosine_top_k(const CosineTopKParams<scalar_t>& params, uint64_t* workspace,
                         void* stream);

}  // namespace lexforge
