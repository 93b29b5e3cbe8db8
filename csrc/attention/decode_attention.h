// Attention of one new token per sequence over the keys and values of those before it: the contract
// of lexforge::decode_attention_, which generation calls once for every layer and token. Inference
// only: nothing is differentiated.
//
// The caches hold C places for every head of every sequence, of which the first n_b are filled:
//
//   n_b = lengths[b]                                where no new key and value are given
//   n_b = lengths[b] + 1                            where they are: they are first written to
//                                                   place lengths[b] of the caches
//   s_j = scale dot(q[b, h], k_cache[b, h, j])      for j < n_b
//   out[b, h] = sum_j exp(s_j - lse) v_cache[b, h, j],  lse = log sum_j exp(s_j)
//
// and zeros where n_b = 0. Places from n_b on are never read. lengths itself stays as it is: it is
// the same for all layers of a step.
//
// The caches are [B, H, C, D], so that what one head of one sequence reads is a single stream, from
// its first key to its last; the new ones are the only rows that lie apart. Blocks of places with a
// table of them (pages) would save memory where sequences differ much in length, and cost a look-up
// for every block; memory that nobody has written to yet costs nothing on most systems anyway.
//
// float32 computes in float32, float64 in float64. bfloat16 is read as it is and computed with in
// float32; the result is rounded.
//
// The keys of a head are cut into parts of a fixed size, whose sums are joined in order: out[b, h]
// has the same bits for any number of threads, and whatever else is in the batch; on CUDA, for one
// C.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"
#include "common/host_device.h"

namespace lexforge {

constexpr int64_t kMaxDecodeDim = 256;
constexpr int64_t kMaxDecodeCapacity = int64_t{1} << 19;

// Row (b, h) of q, k or v, of D elements one after another.
template <typename T>
struct DecodeRows {
  const T* data;  // null if there are none
  int64_t sequence_stride, head_stride;

  LEXFORGE_HOST_DEVICE const T* at(int64_t b, int64_t h) const {
    return data + b * sequence_stride + h * head_stride;
  }
};

// scalar_t is float, double or Bfloat16.
template <typename scalar_t>
struct DecodeAttentionParams {
  DecodeRows<scalar_t> q, k, v;  // [B, H, D]
  scalar_t *k_cache, *v_cache;   // [B, H, C, D]
  const int32_t* lengths;        // [B]
  int64_t sequences, heads;      // B, H; B H < 2^31
  int64_t capacity, dim;         // C <= kMaxDecodeCapacity, 1 <= D <= kMaxDecodeDim
  double scale;
  scalar_t* out;  // [B, H, D]

  // n_b. The CPU binding has checked lengths; on CUDA nobody has: there a length that does not fit
  // is taken for the nearest that does, and a new key without a place is left out.
  LEXFORGE_HOST_DEVICE int64_t keys(int64_t b) const {
    const int64_t n = int64_t{lengths[b]} + (k.data != nullptr ? 1 : 0);
    return n < 0 ? 0 : n > capacity ? capacity : n;
  }
  // The place of the new key, or -1.
  LEXFORGE_HOST_DEVICE int64_t place(int64_t b) const {
    const int64_t n = lengths[b];
    return k.data != nullptr && 0 <= n && n < capacity ? n : -1;
  }
};

// CPU: keys that are summed over together, of one head.
constexpr int64_t kDecodePart = 256;

struct DecodePart {
  int64_t sequence, head;
  int64_t first, last;  // keys
};

// The sums of a part, weighted by 2^(score - largest), the scores being in units of log 2.
template <typename stat_t>
struct DecodeSums {
  stat_t largest, weights;
  stat_t* values;  // [D]
};

// Computes a part. The one that ends with the new key writes it to the cache first. Where `sums` is
// null the part is all that there is, and its result goes to out. `workspace` is 64-byte aligned,
// one per thread, of decode_attention_workspace() bytes.
#define LEXFORGE_DECLARE_DECODE_ATTENTION(isa)                                             \
  namespace isa {                                                                          \
  template <typename scalar_t, typename stat_t>                                            \
  int64_t decode_attention_workspace();                                                    \
  template <typename scalar_t, typename stat_t>                                            \
  void decode_attention_part(const DecodeAttentionParams<scalar_t>&, DecodePart,           \
                             DecodeSums<stat_t>* sums, void* workspace);                   \
  template <typename scalar_t, typename stat_t>                                            \
  void decode_attention_join(const DecodeAttentionParams<scalar_t>&, int64_t b, int64_t h, \
                             const DecodeSums<stat_t>* parts, int64_t count);              \
  }
LEXFORGE_DECLARE_DECODE_ATTENTION(baseline)
LEXFORGE_DECLARE_DECODE_ATTENTION(avx2)
LEXFORGE_DECLARE_DECODE_ATTENTION(avx512)
#undef LEXFORGE_DECLARE_DECODE_ATTENTION

// CUDA. Elements of the scratch that launch_decode_attention takes.
template <typename scalar_t>
int64_t decode_attention_scratch(const DecodeAttentionParams<scalar_t>& params);
template <typename scalar_t, typename stat_t>
void launch_decode_attention(const DecodeAttentionParams<scalar_t>& params, stat_t* scratch,
                             void* stream);

}  // namespace lexforge
