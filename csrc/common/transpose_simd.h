// Squares of as many registers as a register has lanes, turned over. Included by kernel bodies.
#pragma once

#include <cstdint>
#include <utility>

// The instruction set applies from here on.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {

template <typename L, int step, bool upper, int... lane>
LEXFORGE_INLINE typename L::reg exchange(typename L::reg a, typename L::reg b,
                                         std::integer_sequence<int, lane...>) {
  constexpr int width = static_cast<int>(L::kWidth);
  if constexpr (upper) {
    return __builtin_shufflevector(a, b, ((lane & step) != 0 ? width + lane : lane + step)...);
  } else {
    return __builtin_shufflevector(a, b, ((lane & step) != 0 ? width + lane - step : lane)...);
  }
}

// Swaps the off-diagonal quarters of 2 step x 2 step squares, then goes on with half of step.
template <typename L, int step>
LEXFORGE_INLINE void transpose_from(typename L::reg* rows) {
  if constexpr (step > 0) {
    constexpr auto lanes = std::make_integer_sequence<int, static_cast<int>(L::kWidth)>();
#pragma GCC unroll 16
    for (int i = 0; i < L::kWidth; ++i) {
      if ((i & step) != 0) continue;
      const typename L::reg a = rows[i], b = rows[i + step];
      rows[i] = exchange<L, step, false>(a, b, lanes);
      rows[i + step] = exchange<L, step, true>(a, b, lanes);
    }
    transpose_from<L, step / 2>(rows);
  }
}

// Lane l of row r becomes lane r of row l.
template <typename L>
LEXFORGE_INLINE void transpose(typename L::reg* rows) {
  transpose_from<L, static_cast<int>(L::kWidth) / 2>(rows);
}

}  // namespace lexforge::LEXFORGE_ISA
