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

template <typename scalar_t, typename stat_t>
void launch_attention(const AttentionParams<scalar_t, stat_t>& params, void* stream);

// `delta` is scratch of the shape of lse.
template <typename scalar_t, typename stat_t>
void launch_attention_backward(const AttentionBackwardParams<scalar_t, stat_t>& params,
                               stat_t* delta, void* stream);

// The parts on tensor cores. `aligned`: every row of every tensor starts at a multiple of 16 bytes
// and head_dim is a multiple of 8.
void launch_attention_mma(const AttentionParams<Bfloat16, float>& params, bool aligned,
                          void* stream);
void launch_attention_backward_mma(const AttentionBackwardParams<Bfloat16, float>& params,
                                   const float* delta, bool aligned, void* stream);

}  // namespace lexforge
