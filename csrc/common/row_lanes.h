// Row arithmetic of the minibatch kernels. Included by kernel bodies after common/simd.h.
#pragma once

#include "common/bfloat16.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {

template <typename scalar_t>
struct LanesOf {
  using type = ScalarLanes<scalar_t>;
};
template <>
struct LanesOf<float> {
  using type = FloatLanes;
};

// Registers of a row that are kept at once: 8 of 16 floats hold 128 dimensions.
constexpr int64_t kBlockRegisters = 8;

// Scores that are computed together: what a stack array holds.
constexpr int64_t kChunk = 64;

// Every cache line of a row, ahead of its use.
template <typename scalar_t>
LEXFORGE_INLINE void prefetch_row(const scalar_t* row, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(scalar_t);
  for (int64_t d = 0; d < count; d += kLine) __builtin_prefetch(row + d, 0, 3);
}

// dots[i] = dot(v, row(i)) for i < count; entries up to the next multiple of eight are overwritten.
template <typename L, typename Row>
LEXFORGE_INLINE void dot_rows(const typename L::scalar* v, int64_t dim, int64_t count,
                              const Row& row, typename L::scalar* dots) {
  constexpr int64_t kTile = 8;
  const int64_t whole = dim - dim % L::kWidth;
  for (int64_t i = 0; i < count; i += kTile) {
    const typename L::scalar* rows[kTile];
    typename L::reg sum[kTile];
    for (int64_t t = 0; t < kTile; ++t) {
      rows[t] = row(i + t < count ? i + t : i);  // a last tile is filled up with its first row
      sum[t] = L::zero();
    }
    for (int64_t d = 0; d < whole; d += L::kWidth) {
      const auto x = L::load_any(v + d);
#pragma GCC unroll 8
      for (int64_t t = 0; t < kTile; ++t) sum[t] = L::fma(x, L::load_any(rows[t] + d), sum[t]);
    }
    if (whole < dim) {
      const auto x = L::load_first(v + whole, dim - whole);
#pragma GCC unroll 8
      for (int64_t t = 0; t < kTile; ++t) {
        sum[t] = L::fma(x, L::load_first(rows[t] + whole, dim - whole), sum[t]);
      }
    }
    L::sum8(sum, dots + i);
  }
}

// The first n numbers of a row of L's scalars or of Bfloat16 (row_values.h).
template <typename L>
LEXFORGE_INLINE typename L::reg load_row(const typename L::scalar* p, int64_t n) {
  return PlainRowValues<L>::load(p, n);
}
template <typename L>
LEXFORGE_INLINE typename L::reg load_row(const Bfloat16* p, int64_t n) {
  return RowValues<Bfloat16>::load(p, n);
}

// finish(d, r, sum) for each block d .. d + r * kWidth of the dimensions, with the registers
// sum[j] = sum over i of coefficient(i) * row(i)[d + j * kWidth ..].
template <typename L, int64_t kRegisters, typename Row, typename Coefficient, typename Finish>
LEXFORGE_INLINE void weighted_block(int64_t d, int64_t count, const Row& row,
                                    const Coefficient& coefficient, const Finish& finish) {
  typename L::reg sum[kRegisters];
#pragma GCC unroll 8
  for (int64_t j = 0; j < kRegisters; ++j) sum[j] = L::zero();
  for (int64_t i = 0; i < count; ++i) {
    const auto* p = row(i) + d;
    const auto c = L::broadcast(coefficient(i));
#pragma GCC unroll 8
    for (int64_t j = 0; j < kRegisters; ++j) {
      sum[j] = L::fma(c, load_row<L>(p + j * L::kWidth, L::kWidth), sum[j]);
    }
  }
#pragma GCC unroll 8
  for (int64_t j = 0; j < kRegisters; ++j) finish(d + j * L::kWidth, L::kWidth, sum[j]);
}

// finish(d, n, sum) for each register of the dimensions d .. d + n (n = kWidth but at the tail).
template <typename L, typename Row, typename Coefficient, typename Finish>
LEXFORGE_INLINE void weighted_rows(int64_t dim, int64_t count, const Row& row,
                                   const Coefficient& coefficient, const Finish& finish) {
  constexpr int64_t kBlock = kBlockRegisters * L::kWidth;
  int64_t d = 0;
  for (; d + kBlock <= dim; d += kBlock) {
    weighted_block<L, kBlockRegisters>(d, count, row, coefficient, finish);
  }
  switch ((dim - d) / L::kWidth) {
    case 7:
      weighted_block<L, 7>(d, count, row, coefficient, finish);
      d += 7 * L::kWidth;
      break;
    case 6:
      weighted_block<L, 6>(d, count, row, coefficient, finish);
      d += 6 * L::kWidth;
      break;
    case 5:
      weighted_block<L, 5>(d, count, row, coefficient, finish);
      d += 5 * L::kWidth;
      break;
    case 4:
      weighted_block<L, 4>(d, count, row, coefficient, finish);
      d += 4 * L::kWidth;
      break;
    case 3:
      weighted_block<L, 3>(d, count, row, coefficient, finish);
      d += 3 * L::kWidth;
      break;
    case 2:
      weighted_block<L, 2>(d, count, row, coefficient, finish);
      d += 2 * L::kWidth;
      break;
    case 1:
      weighted_block<L, 1>(d, count, row, coefficient, finish);
      d += L::kWidth;
      break;
    default:
      break;
  }
  if (d < dim) {
    auto sum = L::zero();
    for (int64_t i = 0; i < count; ++i) {
      sum = L::fma(L::broadcast(coefficient(i)), load_row<L>(row(i) + d, dim - d), sum);
    }
    finish(d, dim - d, sum);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
