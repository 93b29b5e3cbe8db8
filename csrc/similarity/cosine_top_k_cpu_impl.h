// CPU kernel of cosine_top_k.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/similarity/cosine_top_k.py.
//
// Eight rows at a time are multiplied by a few queries, lanes along the dimensions. One query reads
// them from the table as they stream by; for many, a block of rows is copied first. Every product of
// a row and a query is one chain of multiply-adds in each lane and one sum over lanes, whatever
// shares the tile.
#include <cstdint>

#include "common/bfloat16.h"
#include "similarity/cosine_top_k.h"
#include "similarity/rank.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

using L = FloatLanes;

// Rows of a register tile, as many as sum8 takes; 3 queries of 32 registers, 1 of 16.
constexpr int64_t kTileRows = 8;
#if defined(LEXFORGE_ISA_AVX512)
constexpr int64_t kTileQueries = 3;
#else
constexpr int64_t kTileQueries = 1;
#endif
// Rows that all queries pass by while they lie in the first-level cache: a multiple of the rows of a
// tile and of the lanes. Of 300 floats they are 19 KB.
constexpr int64_t kRows = 16;
// Queries from which on a block is packed first.
constexpr int64_t kLeastPacked = 4;

// Bit i: is lane i of a greater than that of b? Not if one is NaN.
LEXFORGE_INLINE uint32_t greater(L::reg a, L::reg b) {
#if defined(LEXFORGE_ISA_AVX512)
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
#elif defined(LEXFORGE_ISA_AVX2)
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
#else
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= static_cast<uint32_t>(a[i] > b[i]) << i;
  return bits;
#endif
}

// scores[n][t] = query n . row t. With kAhead, the cache lines so many bytes further are fetched.
// Not inlined: the callers' loops would compete for its registers.
template <typename scalar_t, int64_t kQueries, bool kAhead>
__attribute__((noinline)) void tile(const scalar_t* const (&rows)[kTileRows], int64_t dim,
                                    const float* queries, int64_t padded, int64_t ahead,
                                    float* scores) {
  using Row = RowValues<scalar_t>;
  constexpr int64_t W = L::kWidth;
  L::reg sum[kQueries][kTileRows];
#pragma GCC unroll 3
  for (int64_t n = 0; n < kQueries; ++n) {
#pragma GCC unroll 8
    for (int64_t t = 0; t < kTileRows; ++t) sum[n][t] = L::zero();
  }
  const auto step = [&](int64_t d, int64_t count) LEXFORGE_INLINED {
    L::reg query[kQueries];
#pragma GCC unroll 3
    for (int64_t n = 0; n < kQueries; ++n) query[n] = L::load(queries + n * padded + d);
#pragma GCC unroll 8
    for (int64_t t = 0; t < kTileRows; ++t) {
      const L::reg x = Row::load(rows[t] + d, count);
      if constexpr (kAhead) {
        __builtin_prefetch(reinterpret_cast<const char*>(rows[t] + d) + ahead, 0, 2);
      }
#pragma GCC unroll 3
      for (int64_t n = 0; n < kQueries; ++n) sum[n][t] = L::fma(x, query[n], sum[n][t]);
    }
  };
  int64_t d = 0;
  for (; d + W <= dim; d += W) step(d, W);
  if (d < dim) step(d, dim - d);
#pragma GCC unroll 3
  for (int64_t n = 0; n < kQueries; ++n) L::sum8(sum[n], scores + n * kRows);
}

// A block of at most kRows rows, as one query after another looks at it.
struct RowBlock {
  int64_t first, count;
  alignas(64) float inverse[kRows];  // 1 / the norms; anything beyond `count`
};

LEXFORGE_INLINE bool is_in(const int64_t* rows, int64_t count, int64_t row) {
  for (int64_t i = 0; i < count; ++i) {
    if (rows[i] == row) return true;
  }
  return false;
}

// Adds the rows of a block that are good enough, by their dot products [kRows] with the query.
void choose_rows(const RowBlock& block, float* dots, const int64_t* excluded, int64_t most_excluded,
                 int64_t k, BestRanks& best) {
  constexpr int64_t W = L::kWidth;
  for (int64_t r = 0; r < block.count; r += W) {
    const L::reg score = L::mul(L::load_any(dots + r), L::load(block.inverse + r));
    uint32_t bits = (1u << W) - 1;
    if (best.selective) {
      bits = greater(score, L::broadcast(best.threshold));
      if (bits == 0) continue;
    }
    if (block.count - r < W) bits &= (1u << (block.count - r)) - 1;
    L::store_any(dots + r, score);
    for (; bits != 0; bits &= bits - 1) {
      const int64_t i = r + __builtin_ctz(bits), row = block.first + i;
      const uint64_t rank = rank_of(dots[i], row);
      if (rank <= best.least || is_in(excluded, most_excluded, row)) continue;
      if (best.size == best.capacity) {
        keep_best(best, k);
        if (rank <= best.least) continue;
      }
      best.ranks[best.size++] = rank;
    }
  }
}

// The rows of a block, where the tiles read them.
template <typename scalar_t>
struct Rows {
  const scalar_t* first;
  int64_t stride, dim;
};

// The block as floats at 64-byte boundaries, with zeros up to `padded`, for many queries to pass
// by: each would have to convert it, and to read it across cache lines.
template <typename scalar_t>
LEXFORGE_INLINE Rows<float> packed_rows(const Rows<scalar_t>& rows, int64_t count, int64_t padded,
                                        float* to) {
  const int64_t ahead = kRows * rows.stride;
  for (int64_t r = 0; r < count; ++r) {
    const scalar_t* row = rows.first + r * rows.stride;
    for (int64_t d = 0; d < padded; d += L::kWidth) {
      const int64_t left = rows.dim - d;
      if (left > 0) __builtin_prefetch(row + d + ahead, 0, 2);
      L::store(to + r * padded + d, RowValues<scalar_t>::load(row + d, left < 0 ? 0 : left));
    }
  }
  return {to, padded, padded};
}

// One block, for queries from q on.
template <int64_t kQueries, bool kAhead, typename scalar_t>
LEXFORGE_INLINE void search_block(const Rows<scalar_t>& rows, const RowBlock& block,
                                  const UnitQueries& queries, int64_t q, int64_t k,
                                  BestRanks* best) {
  const int64_t ahead = kRows * rows.stride * static_cast<int64_t>(sizeof(scalar_t));
  alignas(64) float dots[kQueries][kRows];
  for (int64_t r = 0; r < block.count; r += kTileRows) {
    const scalar_t* row[kTileRows];
    for (int64_t t = 0; t < kTileRows; ++t) {  // a last tile is filled up with its first row
      row[t] = rows.first + (r + t < block.count ? r + t : r) * rows.stride;
    }
    tile<scalar_t, kQueries, kAhead>(row, rows.dim, queries.values + q * queries.padded_dim,
                                     queries.padded_dim, ahead, dots[0] + r);
  }
  for (int64_t n = q; n < q + kQueries; ++n) {
    choose_rows(block, dots[n - q], queries.excluded + n * queries.most_excluded,
                queries.most_excluded, k, best[n]);
  }
}

}  // namespace

int64_t search_workspace(int64_t dim) { return kRows * padded_dim(dim); }

template <typename scalar_t>
void search_rows(const CosineTopKParams<scalar_t>& params, const UnitQueries& queries,
                 int64_t first, int64_t last, BestRanks* best, float* workspace) {
  RowBlock block;
  for (block.first = first; block.first < last; block.first += kRows) {
    block.count = last - block.first < kRows ? last - block.first : kRows;
    for (int64_t r = 0; r < kRows; ++r) {
      const float norm = params.norms[block.first + (r < block.count ? r : 0)];
      constexpr auto kLeast = static_cast<float>(kLeastNorm);
      block.inverse[r] = 1.0f / (norm < kLeast ? kLeast : norm);  // NaN stays
    }
    const Rows<scalar_t> rows{params.table + block.first * params.stride, params.stride,
                              params.dim};
    if (queries.count < kLeastPacked) {
      search_block<1, true>(rows, block, queries, 0, params.k, best);
      for (int64_t q = 1; q < queries.count; ++q) {
        search_block<1, false>(rows, block, queries, q, params.k, best);
      }
      continue;
    }
    const auto packed = packed_rows(rows, block.count, queries.padded_dim, workspace);
    int64_t q = 0;
    for (; q + kTileQueries <= queries.count; q += kTileQueries) {
      search_block<kTileQueries, false>(packed, block, queries, q, params.k, best);
    }
    for (; q < queries.count; ++q) {
      search_block<1, false>(packed, block, queries, q, params.k, best);
    }
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                                      \
  template void search_rows(const CosineTopKParams<scalar_t>&, const UnitQueries&, int64_t, \
                            int64_t, BestRanks*, float*);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(Bfloat16)
LEXFORGE_INSTANTIATE(Half)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
