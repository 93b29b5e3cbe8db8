// CPU kernel of cosine_top_k.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/similarity/cosine_top_k.py.
//
// Eight rows at a time are multiplied by a few queries, lanes along the dimensions, straight from
// the table: nothing is packed, and one query reads the table once. Every product of a row and a
// query is one chain of multiply-adds in each lane and one sum over lanes, whatever shares the tile.
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
// Rows that all queries pass by while they lie in the first-level cache (300 floats each: 38 KB).
constexpr int64_t kRows = 32;

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

// One block, for queries from q on.
template <int64_t kQueries, bool kAhead, typename scalar_t>
LEXFORGE_INLINE void search_block(const CosineTopKParams<scalar_t>& params,
                                  const UnitQueries& queries, int64_t q, const RowBlock& block,
                                  BestRanks* best) {
  const int64_t padded = queries.padded_dim, most_excluded = params.most_excluded;
  const int64_t ahead = kRows * params.stride * static_cast<int64_t>(sizeof(scalar_t));
  alignas(64) float dots[kQueries][kRows];
  for (int64_t r = 0; r < block.count; r += kTileRows) {
    const scalar_t* rows[kTileRows];
    for (int64_t t = 0; t < kTileRows; ++t) {  // a last tile is filled up with its first row
      const int64_t i = r + t < block.count ? r + t : r;
      rows[t] = params.table + (block.first + i) * params.stride;
    }
    tile<scalar_t, kQueries, kAhead>(rows, params.dim, queries.values + q * padded, padded, ahead,
                                     dots[0] + r);
  }
  for (int64_t n = q; n < q + kQueries; ++n) {
    choose_rows(block, dots[n - q], queries.excluded + n * most_excluded, most_excluded, params.k,
                best[n]);
  }
}

}  // namespace

template <typename scalar_t>
void search_rows(const CosineTopKParams<scalar_t>& params, const UnitQueries& queries,
                 int64_t first, int64_t last, BestRanks* best) {
  RowBlock block;
  for (block.first = first; block.first < last; block.first += kRows) {
    block.count = last - block.first < kRows ? last - block.first : kRows;
    for (int64_t r = 0; r < kRows; ++r) {
      const float norm = params.norms[block.first + (r < block.count ? r : 0)];
      constexpr auto kLeast = static_cast<float>(kLeastNorm);
      block.inverse[r] = 1.0f / (norm < kLeast ? kLeast : norm);  // NaN stays
    }
    const int64_t whole = queries.count - queries.count % kTileQueries;
    // The first to look at a block has the next one fetched.
    if (whole > 0) search_block<kTileQueries, true>(params, queries, 0, block, best);
    for (int64_t q = kTileQueries; q < whole; q += kTileQueries) {
      search_block<kTileQueries, false>(params, queries, q, block, best);
    }
    if (whole == 0) search_block<1, true>(params, queries, 0, block, best);
    for (int64_t q = whole > 0 ? whole : 1; q < queries.count; ++q) {
      search_block<1, false>(params, queries, q, block, best);
    }
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                                      \
  template void search_rows(const CosineTopKParams<scalar_t>&, const UnitQueries&, int64_t, \
                            int64_t, BestRanks*);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(Bfloat16)
LEXFORGE_INSTANTIATE(Half)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
