// The CPU kernels of attention.h: one call computes one head of one sequence.
#pragma once

#include "attention/attention.h"
#include "common/bfloat16.h"

namespace lexforge {

// One head of one sequence.
struct AttentionTask {
  int64_t sequence, head;
};

// `workspace` is 64-byte aligned and of attention_workspace(...) bytes for the longest sequence of
// the batch; its content does not matter. One per thread. `next` is what the thread does afterwards
// (its inputs are fetched meanwhile), or of sequence -1.
#define LEXFORGE_DECLARE_ATTENTION(isa)                                                  \
  namespace isa {                                                                        \
  template <typename scalar_t, typename stat_t>                                          \
  int64_t attention_workspace(int64_t length, int64_t dim);                              \
  template <typename scalar_t, typename stat_t>                                          \
  void attention_head(const AttentionParams<scalar_t, stat_t>&, AttentionTask task,      \
                      AttentionTask next, void* workspace);                              \
  template <typename scalar_t, typename stat_t>                                          \
  int64_t attention_backward_workspace(int64_t length, int64_t dim);                     \
  template <typename scalar_t, typename stat_t>                                          \
  void attention_backward_head(const AttentionBackwardParams<scalar_t, stat_t>&,         \
                               AttentionTask task, AttentionTask next, void* workspace); \
  }
LEXFORGE_DECLARE_ATTENTION(baseline)
LEXFORGE_DECLARE_ATTENTION(avx2)
LEXFORGE_DECLARE_ATTENTION(avx512)
// Products of bfloat16 pairs (AVX512_BF16); exists for Bfloat16 alone.
LEXFORGE_DECLARE_ATTENTION(avx512::bf16)
#undef LEXFORGE_DECLARE_ATTENTION

}  // namespace lexforge
