// A convolution over the tokens of every text of a batch and its greatest value over time, with no
// value for every position in memory: the contract of lexforge::conv_max_pool and
// lexforge::conv_max_pool_picks (Kim 2014, eq. 2 and 3, before the activation).
//
// Text b is the tokens cu_seqlens[b] to cu_seqlens[b + 1], n of them; token t has row index[t] of x,
// or row t without an index. Zeros follow a text up to min_length tokens:
//
//   s[p, c] = sum over k < K and d of weight[k, c, d] x[row of token p + k, d]
//             at the positions 0 <= p <= max(n, min_length) - K, where K <= min_length
//   place[b, c] = the first p with the greatest s[p, c], or with the first NaN where there is one
//   out[b, c] = s[place[b, c], c] + bias[c]
//
// An empty text gives the bias. Any activation that never falls may follow: it goes with a maximum.
//
// Backward, what each tap of each maximum saw, for the gradient g [B, C] of out:
//
//   row[k, c, b] = row of token place[b, c] + k,  share[k, c, b] = g[b, c]
//   or both 0 where that is one of the zeros
//
// So the gradient of weight[k, c] is the sum over b of share[k, c, b] x[row[k, c, b]], a weighted
// bag of embedding_bag.h, and that of x the bag's backward; both have one writer for each row.
//
// scalar_t is float, double or Bfloat16, stat_t float, or double of double. Sums are stat_t; on the
// CPU the sum over d is the library's product, rounded to scalar_t for each tap. Texts do not share
// a sum: a NaN or an infinity stays within the texts that have its row.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"
#include "common/packed.h"

namespace lexforge {

struct ConvTexts {
  const int32_t* cu_seqlens;  // [B + 1] ascending from 0 to T
  const int32_t* index;       // [T] rows of x, or null
  int64_t count, tokens;      // B, T
  int64_t min_length;         // at least K

  LEXFORGE_HOST_DEVICE PackedSpan operator[](int64_t b) const {
    return packed_span(cu_seqlens, b, tokens, tokens);
  }
  LEXFORGE_HOST_DEVICE int64_t row(int64_t token) const {
    return index != nullptr ? index[token] : token;
  }
  // How many positions of a text are looked at: from its end on all are the same zeros.
  LEXFORGE_HOST_DEVICE int64_t positions(int64_t length, int64_t taps) const {
    const int64_t last = (length > min_length ? length : min_length) - taps;
    return (last < length ? last : length) + 1;
  }
};

template <typename scalar_t, typename stat_t>
struct ConvMaxPoolParams {
  const scalar_t* x;       // [U, D]
  const scalar_t* weight;  // [K, C, D]
  const stat_t* bias;      // [C], or null
  ConvTexts texts;
  int64_t rows, taps, channels, dim;  // U, K, C, D
  scalar_t* out;                      // [B, C]
  int32_t* place;                     // [B, C]
};

// CPU. Of the channels first_channel ... first_channel + channels - 1, whose products with all rows
// are there: products[u, k, c] = sum over d of weight[k, first_channel + c, d] x[u, d].
template <typename scalar_t, typename stat_t>
struct ConvMaxPoolPart {
  const scalar_t* products;  // [U, K, channels]
  int64_t first_channel, channels;
};

template <typename stat_t>
struct ConvPicksParams {
  const stat_t* grad_out;  // [B, C]
  const int32_t* place;    // [B, C]
  ConvTexts texts;
  int64_t taps, channels;
  int32_t* row;   // [K, C, B]
  stat_t* share;  // [K, C, B]
};

// The pick at `i` of [K, C, B].
template <typename stat_t>
LEXFORGE_HOST_DEVICE void conv_pick(const ConvPicksParams<stat_t>& params, int64_t i) {
  const auto count = static_cast<uint32_t>(params.texts.count);  // 32 bits divide faster
  const auto channels = static_cast<uint32_t>(params.channels);
  const uint32_t filter = static_cast<uint32_t>(i) / count, k = filter / channels;
  const int64_t b = static_cast<uint32_t>(i) - filter * count, c = filter - k * channels;
  const int64_t cell = b * params.channels + c;
  const PackedSpan text = params.texts[b];
  const int64_t token = int64_t{params.place[cell]} + k;
  const bool there = token >= 0 && token < text.length;
  params.row[i] = there ? static_cast<int32_t>(params.texts.row(text.first + token)) : 0;
  params.share[i] = there ? params.grad_out[cell] : stat_t(0);
}

// Texts [first_text, last).
#define LEXFORGE_DECLARE_CONV_MAX_POOL(isa)                                                       \
  namespace isa {                                                                                 \
  template <typename scalar_t, typename stat_t>                                                   \
  void conv_max_pool(const ConvMaxPoolParams<scalar_t, stat_t>&,                                  \
                     const ConvMaxPoolPart<scalar_t, stat_t>&, int64_t first_text, int64_t last); \
  }
LEXFORGE_DECLARE_CONV_MAX_POOL(baseline)
LEXFORGE_DECLARE_CONV_MAX_POOL(avx2)
LEXFORGE_DECLARE_CONV_MAX_POOL(avx512)
#undef LEXFORGE_DECLARE_CONV_MAX_POOL

// CUDA. A text with a token without a row gives NaN; what cu_seqlens holds is not looked at, and
// nothing outside the tensors is read whatever it is.
template <typename scalar_t, typename stat_t>
void launch_conv_max_pool(const ConvMaxPoolParams<scalar_t, stat_t>& params, void* stream);
template <typename stat_t>
void launch_conv_max_pool_picks(const ConvPicksParams<stat_t>& params, void* stream);

}  // namespace lexforge
