// The CUDA kernels of attention.h.
//
//   attention_cuda.cu           every dtype, any head_dim, on FMA units; and delta
//   attention_forward_mma.cu    bfloat16, head_dim up to kMaxMmaDim, on tensor cores
//   attention_backward_mma.cu
//
// What keys hold that no query of a block of queries sees changes nothing, nor do queries without
// keys. Keys that some of a block's queries see are multiplied by zeros for the others: an infinity
// or a NaN among them shows there, too.
#pragma once

#include "attention/attention.h"
#include "common/bfloat16.h"

namespace lexforge {

constexpr int64_t kMaxMmaDim = 128;

// bfloat16 on tensor cores: how dq of a sequence is found depends on the bound S of the lengths.
// Up to 64, 128 or, for head_dim up to 64, 256, one block has the whole head. Up to
// kMaxPartialsLength every 256 keys (128 above head_dim 64) leave a share of dq in float32, which
// are summed in order: scratch of ceil(S / 256) or ceil(S / 128) times 4 bytes for every element
// of q, head_dim rounded up to 32, 64, 96 or 128. Beyond, scratch is 4 bytes for every row of a
// head, and the scores are found twice.
constexpr int64_t kMaxPartialsLength = 1024;

template <typename scalar_t, typename stat_t>
void launch_attention(const AttentionParams<scalar_t, stat_t>& params, void* stream);

// Elements of the scratch that launch_attention_backward takes.
template <typename scalar_t>
int64_t attention_backward_scratch(const AttentionShape& shape);

template <typename scalar_t, typename stat_t>
void launch_attention_backward(const AttentionBackwardParams<scalar_t, stat_t>& params,
                               stat_t* scratch, void* stream);

// The parts on tensor cores. `aligned`: every row of every tensor starts at a multiple of 16 bytes
// and head_dim is a multiple of 8. `scratch`: attention_partials(shape) elements for the shares of
// dq, or delta above kMaxPartialsLength.
void launch_attention_mma(const AttentionParams<Bfloat16, float>& params, bool aligned,
                          void* stream);
int64_t attention_partials(const AttentionShape& shape);
void launch_attention_backward_mma(const AttentionBackwardParams<Bfloat16, float>& params,
                                   float* scratch, bool aligned, void* stream);

}  // namespace lexforge
