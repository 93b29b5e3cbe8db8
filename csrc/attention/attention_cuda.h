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

// The backward on tensor cores has three forms, by the bound S of the lengths. With K = 256 keys
// for head_dim up to 64, and 128 above:
//   S <= K                   one kernel, no scratch
//   S <= kMaxPartialsLength  every K keys leave a share of dq in float32, and the shares are summed
//                            in order: scratch of 4 ceil(S / K) bytes for every element of q, with
//                            head_dim rounded up to 32, 64, 96 or 128
//   above                    dq has a kernel of its own that does two of the five products again;
//                            scratch of 4 bytes for every row of a head (delta)
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
// and head_dim is a multiple of 8. `scratch` is room for attention_partials(shape) elements, or
// above kMaxPartialsLength holds delta.
void launch_attention_mma(const AttentionParams<Bfloat16, float>& params, bool aligned,
                          void* stream);
int64_t attention_partials(const AttentionShape& shape);
void launch_attention_backward_mma(const AttentionBackwardParams<Bfloat16, float>& params,
                                   float* scratch, bool aligned, void* stream);

}  // namespace lexforge
