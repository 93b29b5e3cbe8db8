// Fused attention, forward and backward: the contract of lexforge::attention and
// lexforge::attention_backward (Vaswani et al. 2017, eq. 1; never holding S x S scores, as Dao et
// al. 2022).
//
// A batch holds B sequences of S_b tokens; every token has H heads of D elements in q, k and v.
// Its tokens lie packed, [T, H, D] with cu_seqlens [B + 1] (sequence b is rows cu_seqlens[b] to
// cu_seqlens[b + 1]), or padded, [B, S, H, D] with S_b = S. Query i of sequence b sees the keys
// j < n, with
//
//   n(b, i) = min(S_b, valid_lens[b] or valid_lens[b, i] where given, i + 1 if causal)
//
// so a row of scores is a prefix, whatever the mask. Forward, for each (b, h, i):
//
//   s_j = scale dot(q_i, k_j)          for j < n
//   lse = log sum_j exp(s_j)           -infinity where n = 0
//   out_i = sum_j z_j exp(s_j - lse) v_j    zeros where n = 0
//
// z_j is 1 without dropout, else 0 or 1 / (1 - p), see below. Saved for the backward: out and lse.
// Backward, for the gradient g of out, with P_ij = exp(s_ij - lse_i):
//
//   delta_i = dot(g_i, out_i)          equals sum_j P_ij z_ij dot(g_i, v_j)
//   E_ij = P_ij (z_ij dot(g_i, v_j) - delta_i)
//   dq_i = scale sum_j E_ij k_j        dk_j = scale sum_i E_ij q_i
//   dv_j = sum_i z_ij P_ij g_i
//
// Rows with n = 0 take no part; keys that no query sees get zeros. lse has no gradient. Where
// lengths are given per query, the CPU kernels multiply such rows by zero, so there they must be
// finite.
//
// float32 computes in float32, float64 in float64 (for gradient checks). bfloat16 multiplies in
// bfloat16 with float32 sums; statistics are float32; P and E are rounded to bfloat16 before their
// products where the processor multiplies bfloat16, and stay float32 elsewhere.
//
// Every result has one writer that adds in the order of the keys (out, dq) or of the queries
// (dk, dv), in blocks whose bounds depend on the problem alone: bit-identical for any number of
// threads and from run to run.
#pragma once

#include <cstdint>

#include "common/dropout.h"
#include "common/host_device.h"
#include "common/packed.h"
#include "common/philox.h"

namespace lexforge {

constexpr int64_t kMaxHeadDim = 256;

// Dropout (common/dropout.h). The 16 bits of entry (b, h, i, j) depend on (seed, b, h, i, j) alone:
// packed or padded, CPU or GPU, for any blocking.
//
//   Philox position  high word b H + h, low word i
//   Philox slot      4 (j / 32) + j % 8 / 2
//   word, half       j % 32 / 8, and the low half for even j, the high half for odd j
//
// One quad thus serves the eight entries of a row that one thread of a tensor-core accumulator
// holds in four neighbouring tiles of eight columns, and the same word of four neighbouring slots
// is eight neighbouring keys in memory order.
//
// Whether entry (row, j) is kept, row = (b H + h) << 32 | i: the definition, an entry at a time.
LEXFORGE_HOST_DEVICE bool attention_keeps(uint64_t seed, uint32_t threshold, uint64_t row,
                                          uint32_t j) {
  const PhiloxQuad quad =
      philox_at(seed, 0, row, RandomStream::kAttention, 4 * (j / 32) + j % 8 / 2);
  const uint32_t word = quad.word[j % 32 / 8];
  return (j % 2 == 0 ? word & 0xFFFFu : word >> 16) >= threshold;
}

// Element (b, i, h, d) of q, k, v, out or a gradient, which have unit stride in d:
//   data[(cu_seqlens ? cu_seqlens[b] * token_stride : b * sequence_stride)
//        + i * token_stride + h * head_stride + d]
template <typename T>
struct AttentionRows {
  T* data;
  int64_t sequence_stride;  // unused if packed
  int64_t token_stride;
  int64_t head_stride;
};

struct AttentionShape {
  int64_t sequences, heads, dim;  // B, H, D; 1 <= D <= kMaxHeadDim, B H < 2^31
  int64_t tokens;                 // T, or B S if padded
  int64_t max_length;             // S, or a bound of S_b; < 2^27
  const int32_t* cu_seqlens;      // [B + 1], on the device of q; null if padded
  const int32_t* valid_lens;      // [B] or [B, S] of 0 ... S; null if packed or nothing is masked
  bool valid_per_query;           // valid_lens is [B, S]
  bool causal;
  double scale;
  Dropout dropout;
};

// The CPU binding checks cu_seqlens and valid_lens. They are not looked at on the host on CUDA:
// kernels there read them through these, which keep any content inside the tensors. Rows that no
// sequence covers, or only past max_length, are left as they were allocated, in out and lse as in
// dq, dk and dv.
using AttentionSpan = PackedSpan;

LEXFORGE_HOST_DEVICE AttentionSpan attention_span(const AttentionShape& shape, int64_t b) {
  if (shape.cu_seqlens == nullptr) return {b * shape.max_length, shape.max_length};
  return packed_span(shape.cu_seqlens, b, shape.tokens, shape.max_length);
}

// n(b, i) for a sequence of `length` tokens.
LEXFORGE_HOST_DEVICE int64_t attention_keys(const AttentionShape& shape, int64_t b, int64_t i,
                                            int64_t length) {
  int64_t n = length;
  if (shape.valid_lens != nullptr) {
    n = shape.valid_lens[shape.valid_per_query ? b * shape.max_length + i : b];
    n = n < 0 ? 0 : n > length ? length : n;
  }
  return shape.causal && i + 1 < n ? i + 1 : n;
}

// scalar_t is float, double or a two-byte float; stat_t float, or double for double.
template <typename scalar_t, typename stat_t>
struct AttentionParams {
  AttentionShape shape;
  AttentionRows<const scalar_t> q, k, v;
  AttentionRows<scalar_t> out;
  stat_t* lse;  // [T, H] or [B, S, H], contiguous
};

template <typename scalar_t, typename stat_t>
struct AttentionBackwardParams {
  AttentionShape shape;
  AttentionRows<const scalar_t> q, k, v, out, grad_out;
  const stat_t* lse;
  AttentionRows<scalar_t> grad_q, grad_k, grad_v;  // written whole
};

}  // namespace lexforge
