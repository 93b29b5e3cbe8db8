// CPU kernels of attention.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/attention/attention.py.
//
// The parts, each of which knows those before it:
//   cpu/products_impl.h   the sizes of blocks
//   cpu/head_impl.h       one head of one sequence: sizes, rows, fetching ahead
//   cpu/packed_impl.h     packed elements and rows
//   cpu/dropout_impl.h    which probabilities are kept
//   cpu/forward_impl.h    the forward pass of one head
//   cpu/backward_impl.h   the backward pass of one head
//
// Everything is a product of packed blocks by the register tile (common/register_tile.h). Its left
// operand is read an element at a time, so it may lie either way round; its right operand is read
// in rows of lanes. Of a sequence's head, the scores therefore need K transposed (and so do the
// products of the gradient with V), packed in panels of kPanel keys; everything else is packed row
// by row, and no block of probabilities is ever transposed.
//
// A packed element is what one lane multiplies at a time: a number, or a pair of bfloat16 numbers
// that are neighbours in the direction of the sum.
#include <cstdint>
#include <cstring>
#include <utility>

#include "attention/attention_cpu.h"
// The instruction set applies from here on.
#include "attention/cpu/backward_impl.h"
#include "attention/cpu/forward_impl.h"

namespace lexforge::LEXFORGE_ISA {

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                            \
  template int64_t attention_workspace<scalar_t, stat_t>(int64_t, int64_t);               \
  template void attention_head(const AttentionParams<scalar_t, stat_t>&, AttentionTask,   \
                               AttentionTask, void*);                                     \
  template int64_t attention_backward_workspace<scalar_t, stat_t>(int64_t, int64_t);      \
  template void attention_backward_head(const AttentionBackwardParams<scalar_t, stat_t>&, \
                                        AttentionTask, AttentionTask, void*);
#if !defined(LEXFORGE_ISA_AVX512_BF16)
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
#endif
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
