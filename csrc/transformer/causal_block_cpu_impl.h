// CPU kernels of causal_block_cpu.h: one body, compiled per instruction set.
//
// The right matrix is packed in panels as wide as a register tile, the left one stays as it is if
// its rows are float32 along k. A panel, some hundred numbers deep, is in the first-level cache
// while kRows rows pass by; so are as many packed rows of a left matrix that lies across.
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "transformer/causal_block_cpu.h"
// The instruction set applies from here on.
#include "common/register_tile.h"
#include "common/simd.h"
// What needs it.
#include "common/row_values.h"
#include "common/transpose_simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

using L = FloatLanes;
constexpr int64_t W = L::kWidth, kPanel = kTileVectors * W;
constexpr int64_t kRows = 64;    // of y that are made at a time
constexpr int64_t kDepth = 256;  // of k, at most, that is summed at a time

struct Floats {
  using scalar = float;
  using lanes = L;
  static LEXFORGE_INLINE L::reg multiply_add(L::reg a, L::reg b, L::reg c) {
    return L::fma(a, b, c);
  }
};

constexpr int64_t parts(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

// The first n numbers; of a weight that multiplies rows of bfloat16 as those are.
template <bool kRound, typename T>
LEXFORGE_INLINE L::reg load(const T* from, int64_t n) {
  const L::reg x = RowValues<T>::load(from, n);
  if constexpr (!kRound) return x;
  Bfloat16 rounded[W];
  RowValues<Bfloat16>::store(rounded, x, W);
  return RowValues<Bfloat16>::load(rounded, W);
}

// Rows of the left matrix, where the register tile reads them: row m at data[m * row], its numbers
// `step` apart.
struct LeftRows {
  const float* data;
  int64_t row, step;
};

// Of rows [first, first + rows). Packed ones are [rows, K], or [K, kRows] if they lie across.
template <typename T>
LeftRows left_rows(const SplitOperand<T>& left, int64_t first, int64_t rows, int64_t depth,
                   float* packed) {
  const T* from = left.data + first * left.free;
  if (left.summed != 1) {
    for (int64_t k = 0; k < depth; ++k) {
      for_registers<L>(rows, [&](int64_t m, int64_t n) LEXFORGE_INLINED {
        L::store_any(packed + k * kRows + m, RowValues<T>::load(from + k * left.summed + m, n));
      });
    }
    return {packed, 1, kRows};
  }
  if constexpr (std::is_same_v<T, float>) {
    return {from, left.free, 1};
  } else {
    const int64_t row = round_up(depth, W);
    for (int64_t m = 0; m < rows; ++m) {
      for_registers<L>(depth, [&](int64_t k, int64_t n) LEXFORGE_INLINED {
        L::store_any(packed + m * row + k, RowValues<T>::load(from + m * left.free + k, n));
      });
    }
    return {packed, row, 1};
  }
}

// Sums over k of rows that lie across.
void add_sums(const float* packed, int64_t rows, int64_t depth, float* sums, bool add) {
  for_registers<L>(rows, [&](int64_t m, int64_t n) LEXFORGE_INLINED {
    L::reg sum = add ? RowValues<float>::load(sums + m, n) : L::zero();
    for (int64_t k = 0; k < depth; ++k) sum = L::add(sum, L::load_any(packed + k * kRows + m));
    RowValues<float>::store(sums + m, sum, n);
  });
}

}  // namespace

int64_t lane_packed_bytes(int64_t depth, int64_t columns) {
  return parts(columns, kPanel) * kPanel * depth * static_cast<int64_t>(sizeof(float));
}

// Rows of the left matrix, and then of a panel of y.
int64_t lane_workspace_bytes(int64_t depth) {
  return kRows * (round_up(depth, W) + kPanel) * static_cast<int64_t>(sizeof(float));
}

template <typename A, typename B, typename Y>
void lane_pack(const SplitProductParams<A, B, Y>& p, void* packed) {
  constexpr bool kRound = std::is_same_v<A, Bfloat16> && std::is_same_v<B, float>;
  auto* to = static_cast<float*>(packed);
  for (int64_t column = 0; column < p.columns; column += kPanel, to += p.depth * kPanel) {
    const int64_t columns = lesser(p.columns - column, kPanel);
    const B* from = p.right.data + column * p.right.free;
    if (p.right.free == 1) {
      for (int64_t k = 0; k < p.depth; ++k) {
        for (int64_t j = 0; j < kPanel; j += W) {
          L::store_any(to + k * kPanel + j,
                       load<kRound>(from + k * p.right.summed + j, columns - j));
        }
      }
      continue;
    }
    for (int64_t j = 0; j < kPanel; j += W) {
      for (int64_t k = 0; k < p.depth; k += W) {
        L::reg square[W];
        for (int64_t i = 0; i < W; ++i) {
          square[i] = j + i < columns ? load<kRound>(from + (j + i) * p.right.free + k, p.depth - k)
                                      : L::zero();
        }
        transpose<L>(square);
        for (int64_t i = 0; i < W && k + i < p.depth; ++i) {
          L::store_any(to + (k + i) * kPanel + j, square[i]);
        }
      }
    }
  }
}

template <typename A, typename B, typename Y>
void lane_multiply(const SplitProductParams<A, B, Y>& p, const void* packed, void* workspace) {
  using Out = RowValues<Y>;
  auto* of_left = static_cast<float*>(workspace);
  float* sums = of_left + kRows * round_up(p.depth, W);
  const int64_t segment = parts(p.depth, parts(p.depth, kDepth));
  for (int64_t first = 0; first < p.rows; first += kRows) {
    const int64_t rows = lesser(p.rows - first, kRows);
    const LeftRows left = left_rows(p.left, first, rows, p.depth, of_left);
    if (p.sums != nullptr) add_sums(left.data, rows, p.depth, p.sums + first, p.add);
    const RowTiles tiles(rows);
    const auto* right = static_cast<const float*>(packed);
    for (int64_t column = 0; column < p.columns; column += kPanel, right += p.depth * kPanel) {
      const int64_t columns = lesser(p.columns - column, kPanel);
      Y* y = p.y + first * p.columns + column;
      float* c = sums;
      int64_t c_row = kPanel;
      bool direct = false;
      if constexpr (std::is_same_v<Y, float>) {
        direct = p.bias == nullptr && columns % W == 0;
        if (direct) c = y, c_row = p.columns;
      }
      const bool onto = direct && p.add;
      for (int64_t k = 0; k < p.depth; k += segment) {
        for (int64_t t = 0; t < tiles.count; ++t) {
          const int64_t r = tiles.first(t);
          tile_of<Floats>(
              {left.data + r * left.row + k * left.step, left.row, left.step, right + k * kPanel,
               kPanel, c + r * c_row, c_row, lesser(p.depth - k, segment), k > 0 || onto},
              tiles.size(t), parts(columns, W));
        }
      }
      if (direct) continue;
      for (int64_t r = 0; r < rows; ++r) {
        for_registers<L>(columns, [&](int64_t j, int64_t n) LEXFORGE_INLINED {
          L::reg x = L::load_any(sums + r * kPanel + j);
          if (p.bias != nullptr) x = L::add(x, RowValues<float>::load(p.bias + column + j, n));
          if (p.add) x = L::add(x, Out::load(y + r * p.columns + j, n));
          Out::store(y + r * p.columns + j, x, n);
        });
      }
    }
  }
}

#define LEXFORGE_INSTANTIATE(A, B, Y)                                 \
  template void lane_pack(const SplitProductParams<A, B, Y>&, void*); \
  template void lane_multiply(const SplitProductParams<A, B, Y>&, const void*, void*);
LEXFORGE_INSTANTIATE(float, float, float)
LEXFORGE_INSTANTIATE(Bfloat16, float, Bfloat16)
LEXFORGE_INSTANTIATE(Bfloat16, Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
