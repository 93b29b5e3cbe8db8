// Products of packed blocks by one register tile. P says what an element is (`scalar`), its `lanes`,
// and how a lane multiplies it (`multiply_add`). Included by kernel bodies.
#pragma once

#include <cstdint>

// The instruction set applies from here on.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {

// Rows of a register tile, and its registers per row; 6 x 4 of 32 registers, or 6 x 2 of 16.
constexpr int64_t kTileRows = 6;
#if defined(LEXFORGE_ISA_AVX512)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif

constexpr int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// c[m][n] (+)= sum over k < depth of a[m * a_row + k * a_step] * b[k * b_step + n], for M rows and
// N registers of columns.
template <typename P>
struct Block {
  using scalar = typename P::scalar;
  const scalar* a;
  int64_t a_row, a_step;
  const scalar* b;
  int64_t b_step;
  scalar* c;
  int64_t c_row;
  int64_t depth;
  bool add;
};

// Not inlined: the callers' loops would compete for its registers.
template <typename P, int M, int N>
__attribute__((noinline)) void tile(const Block<P>& block) {
  using L = typename P::lanes;
  using reg = typename L::reg;
  constexpr int64_t W = L::kWidth;
  reg sum[M][N];  // registers, as long as every loop over it is unrolled
  auto* c = block.c;
  const int64_t a_row = block.a_row, a_step = block.a_step, b_step = block.b_step;
  const int64_t c_row = block.c_row;
#pragma GCC unroll 6
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      sum[m][n] = block.add ? L::load_any(c + m * c_row + n * W) : L::zero();
    }
  }
  const auto* a = block.a;
  const auto* b = block.b;
  for (int64_t k = block.depth; k > 0; --k) {
    reg column[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) column[n] = L::load_any(b + n * W);
#pragma GCC unroll 6
    for (int m = 0; m < M; ++m) {
      const reg x = L::broadcast(a[m * a_row]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[m][n] = P::multiply_add(x, column[n], sum[m][n]);
    }
    a += a_step;
    b += b_step;
  }
#pragma GCC unroll 6
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) L::store_any(c + m * c_row + n * W, sum[m][n]);
  }
}

template <typename P, int N>
LEXFORGE_INLINE void tile_of_rows(const Block<P>& block, int64_t rows) {
  switch (rows) {
    case 1:
      return tile<P, 1, N>(block);
    case 2:
      return tile<P, 2, N>(block);
    case 3:
      return tile<P, 3, N>(block);
    case 4:
      return tile<P, 4, N>(block);
    case 5:
      return tile<P, 5, N>(block);
    default:
      return tile<P, 6, N>(block);
  }
}

// `rows` in [1, kTileRows], `vectors` in [1, kTileVectors].
template <typename P>
LEXFORGE_INLINE void tile_of(const Block<P>& block, int64_t rows, int64_t vectors) {
  if (vectors == 1) return tile_of_rows<P, 1>(block, rows);
  if constexpr (kTileVectors == 2) {
    return tile_of_rows<P, 2>(block, rows);
  } else {
    if (vectors == 2) return tile_of_rows<P, 2>(block, rows);
    if (vectors == 3) return tile_of_rows<P, 3>(block, rows);
    return tile_of_rows<P, kTileVectors>(block, rows);
  }
}

// Rows in tiles of nearly one size: 8 rows are 4 + 4, not 6 + 2.
struct RowTiles {
  int64_t rows, count;
  explicit RowTiles(int64_t rows) : rows(rows), count((rows + kTileRows - 1) / kTileRows) {}
  int64_t first(int64_t t) const { return t * rows / count; }
  int64_t size(int64_t t) const { return first(t + 1) - first(t); }
};

}  // namespace lexforge::LEXFORGE_ISA
