// CPU kernels of dropout.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/transformer/dropout.py.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "transformer/dropout.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/dropout_simd.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {

template <typename scalar_t>
void dropout(const DropoutParams<scalar_t>& params, int64_t first_block, int64_t last) {
  using V = RowValues<scalar_t>;
  using L = typename V::lanes;
  const auto scale = L::broadcast(static_cast<typename L::scalar>(params.dropout.scale));
  uint8_t bits[dropout_bytes(kDropoutBlock)];
  for (int64_t block = first_block; block < last; ++block) {
    const int64_t first = block * kDropoutBlock, left = params.count - first;
    const int64_t count = left < kDropoutBlock ? left : kDropoutBlock;
    dropout_keep_bits(params.dropout, static_cast<uint64_t>(first), count, RandomStream::kDropout,
                      bits);
    const scalar_t* x = params.x + first;
    scalar_t* out = params.out + first;
    for_registers<L>(count, [&](int64_t i, int64_t n) LEXFORGE_INLINED {
      V::store(out + i, keep_lanes<L>(L::mul(V::load(x + i, n), scale), bits, i), n);
    });
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t) \
  template void dropout(const DropoutParams<scalar_t>&, int64_t, int64_t);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
LEXFORGE_INSTANTIATE(Bfloat16)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
