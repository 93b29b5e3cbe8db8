// The products of causal_block.h where the CPU has no tiles: those of split_product.h by
// multiply-adds of float32. bfloat16 becomes float32 where it is packed; a weight beside rows of it
// is rounded to bfloat16 there. k is summed in order, a few hundred at a time.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"
#include "transformer/split_product.h"

namespace lexforge {

// The right matrix is packed once, for as many rows as there are: `packed` is of
// lane_packed_bytes(K, N), `workspace` of lane_workspace_bytes(K), and both are 64-byte aligned.
#define LEXFORGE_DECLARE_LANE_PRODUCT(isa)                                                     \
  namespace isa {                                                                              \
  int64_t lane_packed_bytes(int64_t depth, int64_t columns);                                   \
  int64_t lane_workspace_bytes(int64_t depth);                                                 \
  template <typename L, typename R, typename Y>                                                \
  void lane_pack(const SplitProductParams<L, R, Y>&, void* packed);                            \
  template <typename L, typename R, typename Y>                                                \
  void lane_multiply(const SplitProductParams<L, R, Y>&, const void* packed, void* workspace); \
  }
LEXFORGE_DECLARE_LANE_PRODUCT(baseline)
LEXFORGE_DECLARE_LANE_PRODUCT(avx2)
LEXFORGE_DECLARE_LANE_PRODUCT(avx512)
#undef LEXFORGE_DECLARE_LANE_PRODUCT

}  // namespace lexforge
