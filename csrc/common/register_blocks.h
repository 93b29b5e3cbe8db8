// Rows in as many registers at once as there are. Included by kernel bodies after common/simd.h.
#pragma once

#include <cstdint>

namespace lexforge::LEXFORGE_ISA {

// Registers that a part of a row is kept in; two or more are left.
template <typename L>
constexpr int64_t kBlockOfRow = L::kWidth == 16 ? 24 : 14;

template <typename L, int64_t kRegisters, typename Work>
LEXFORGE_INLINE void last_block(int64_t d, int64_t stride, const Work& work) {
  if constexpr (kRegisters > 0) {
    if (stride - d == kRegisters * L::kWidth) {
      work.template operator()<kRegisters>(d);
    } else {
      last_block<L, kRegisters - 1>(d, stride, work);
    }
  }
}

// Calls work.template operator()<n>(d) for blocks of n registers, from column d on, of rows of
// `stride` elements, a multiple of L's width.
template <typename L, typename Work>
LEXFORGE_INLINE void each_block(int64_t stride, const Work& work) {
  constexpr int64_t kMost = kBlockOfRow<L>;
  int64_t d = 0;
  for (; d + kMost * L::kWidth <= stride; d += kMost * L::kWidth) {
    work.template operator()<kMost>(d);
  }
  last_block<L, kMost - 1>(d, stride, work);
}

}  // namespace lexforge::LEXFORGE_ISA
