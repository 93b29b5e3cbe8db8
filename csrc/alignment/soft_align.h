// Soft alignment of pairs of texts, both directions from one matrix of scores: the contract of
// lexforge::soft_align and lexforge::soft_align_backward (Parikh et al. 2016, eq. 1 and 2; the
// scores are never held for more than one pair).
//
// A batch holds N pairs. The first texts lie packed: text n is rows cu_a[n] to cu_a[n + 1] of f_a
// [Ta, H], which its tokens are compared by, and of a [Ta, D], which is aligned. The second texts
// are those of f_b [Tb, H] and b [Tb, D] by cu_b. Forward, for tokens i and j of the two texts of a
// pair:
//
//   e_ij = dot(f_a_i, f_b_j)
//   top_a_i = max_j e_ij       sum_a_i = sum_j exp(e_ij - top_a_i)     p_ij = exp(...) / sum_a_i
//   top_b_j = max_i e_ij       sum_b_j = sum_i exp(e_ij - top_b_j)     q_ij = exp(...) / sum_b_j
//   beta_i = sum_j p_ij b_j    alpha_j = sum_i q_ij a_i
//
// Where one text of a pair is empty, the other is aligned with nothing: its rows of beta or alpha
// are zeros, their top is -infinity and their sum 0. Saved for the backward are beta, alpha, and
// stats_a [2, Ta] and stats_b [2, Tb]: top and sum. Backward, for the gradients g of beta and h of
// alpha:
//
//   E_ij = p_ij (dot(g_i, b_j) - dot(g_i, beta_i)) + q_ij (dot(h_j, a_i) - dot(h_j, alpha_j))
//   df_a_i = sum_j E_ij f_b_j     da_i = sum_j q_ij h_j
//   df_b_j = sum_i E_ij f_a_i     db_j = sum_i p_ij g_i
//
// Rows of a text whose other is empty get zeros. The statistics have no gradient.
//
// float32 computes in float32, float64 in float64 (for gradient checks). bfloat16 is widened as it
// is read; scores, probabilities, statistics and sums are float32. An infinity or a NaN stays
// within its pair.
//
// Every result has one writer that adds in the order of the tokens, in blocks whose bounds depend
// on the pair alone: bit-identical for any number of threads and from run to run.
//
// Every length is fine on the CPU; on CUDA a text has at most kMaxAlignedLength tokens.
#pragma once

#include <cstdint>

#include "common/packed.h"

namespace lexforge {

constexpr int64_t kMaxAlignedLength = 4096;

// Row t is at data + t * stride, its elements next to each other.
template <typename T>
struct AlignRows {
  T* data;
  int64_t stride;
};

struct SoftAlignShape {
  int64_t pairs, feature_dim, dim;  // N < 2^31, H, D; H, D >= 1
  int64_t tokens_a, tokens_b;       // Ta, Tb
  int64_t max_a, max_b;             // bounds of the lengths, < 2^27
  const int32_t *cu_a, *cu_b;       // [N + 1], on the device of f_a
};

// Rows that no pair covers, or only past the bounds of the lengths, are left as they were
// allocated in every result; so CUDA's are where cu_a or cu_b is not as it should be.
LEXFORGE_HOST_DEVICE PackedSpan first_text(const SoftAlignShape& shape, int64_t pair) {
  return packed_span(shape.cu_a, pair, shape.tokens_a, shape.max_a);
}
LEXFORGE_HOST_DEVICE PackedSpan second_text(const SoftAlignShape& shape, int64_t pair) {
  return packed_span(shape.cu_b, pair, shape.tokens_b, shape.max_b);
}

// scalar_t is float, double or Bfloat16; stat_t float, or double for double. Statistics are
// contiguous: top [T], then sum [T].
template <typename scalar_t, typename stat_t>
struct SoftAlignParams {
  SoftAlignShape shape;
  AlignRows<const scalar_t> f_a, f_b, a, b;
  AlignRows<scalar_t> beta, alpha;
  stat_t *stats_a, *stats_b;
};

template <typename scalar_t, typename stat_t>
struct SoftAlignBackwardParams {
  SoftAlignShape shape;
  AlignRows<const scalar_t> f_a, f_b, a, b, beta, alpha, grad_beta, grad_alpha;
  const stat_t *stats_a, *stats_b;
  AlignRows<scalar_t> grad_f_a, grad_f_b, grad_a, grad_b;
};

// The CPU kernels: one call computes one pair. `workspace` is 64-byte aligned and of
// soft_align[_backward]_workspace(...) bytes for the longest texts of the batch; its content does
// not matter. One per thread.
#define LEXFORGE_DECLARE_SOFT_ALIGN(isa)                                                         \
  namespace isa {                                                                                \
  template <typename scalar_t, typename stat_t>                                                  \
  int64_t soft_align_workspace(const SoftAlignShape&, int64_t longest_a, int64_t longest_b);     \
  template <typename scalar_t, typename stat_t>                                                  \
  void soft_align_pair(const SoftAlignParams<scalar_t, stat_t>&, int64_t pair, void* workspace); \
  template <typename scalar_t, typename stat_t>                                                  \
  int64_t soft_align_backward_workspace(const SoftAlignShape&, int64_t longest_a,                \
                                        int64_t longest_b);                                      \
  template <typename scalar_t, typename stat_t>                                                  \
  void soft_align_backward_pair(const SoftAlignBackwardParams<scalar_t, stat_t>&, int64_t pair,  \
                                void* workspace);                                                \
  }
LEXFORGE_DECLARE_SOFT_ALIGN(baseline)
LEXFORGE_DECLARE_SOFT_ALIGN(avx2)
LEXFORGE_DECLARE_SOFT_ALIGN(avx512)
#undef LEXFORGE_DECLARE_SOFT_ALIGN

template <typename scalar_t, typename stat_t>
void launch_soft_align(const SoftAlignParams<scalar_t, stat_t>& params, void* stream);
template <typename scalar_t, typename stat_t>
void launch_soft_align_backward(const SoftAlignBackwardParams<scalar_t, stat_t>& params,
                                void* stream);

}  // namespace lexforge
