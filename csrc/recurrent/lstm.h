// One layer of a long short-term memory over packed texts, in one direction or in both: the contract
// of lexforge::lstm and lexforge::lstm_backward (Hochreiter and Schmidhuber 1997, with the forget
// gate of Gers et al. 2000; gates and their order as in torch.nn.LSTM).
//
// A batch holds B texts; text b is the tokens cu_seqlens[b] to cu_seqlens[b + 1] of T. Direction
// d = 0 reads each text from its first token to its last, d = 1 from its last to its first; p is the
// token before t in that order, and before a text's first one h_p = c_p = 0. The products with the
// inputs, biases added, come ready: token t has row index[t] of `gates`, or row t without an index.
// Of each (d, t), for the H units:
//
//   (i, f, g, o) = gates[index[t], d] + w_hh[d] h_p      four gates of H numbers each
//   i, f, o = sigmoid(i), sigmoid(f), sigmoid(o)         g = tanh(g)
//   c_t = f c_p + i g                                    h_t = o tanh(c_t)
//
// out[t, d] = h_t; h_n[b, d] and c_n[b, d] are h and c of the last token in the order of d, and zeros
// of an empty text. Saved for the backward where that is asked for: i, f, g and o in `activated`, c
// in `cells`.
//
// Backward, against the order of d, for gradients grad_out [T, D, H] and grad_h, grad_c [B, D, H],
// each of which may be missing, with q the token after t:
//
//   dh = grad_out[t, d] + w_hh[d]^T dgates_q             grad_h[b, d] in place of the product, and
//   dc = dh o (1 - tanh(c_t)^2) + dc_q f_q               grad_c[b, d] of dc_q f_q, at the last token
//   dgates_t = (dc g i (1 - i), dc c_p f (1 - f), dc i (1 - g^2), dh tanh(c_t) o (1 - o))
//
// The result is dgates [T, D, 4 H], of the token and not of its row of `gates`. What is left of the
// gradients are products and sums that the libraries do: of w_hh[d] the sum of dgates_t h_p^T, of
// row r of `gates` the sum of dgates_t over index[t] = r.
//
// float32 computes in float32, with sigmoid and tanh within 3e-7 of the exact ones; float64 in
// float64. The CPU takes numbers below the smallest normal one for 0: gradients that fade over
// hundreds of tokens reach them, and processors compute with them a hundred times as slowly. Every
// number has one writer, whose sums run in a fixed order: the bits depend on neither threads nor the
// other texts of the batch.
#pragma once

#include <cstdint>

#include "common/packed.h"

namespace lexforge {

constexpr int64_t kMaxLstmHidden = 1024;
constexpr int64_t kGates = 4;  // i, f, g, o

struct LstmShape {
  int64_t tokens, texts, directions, hidden;  // T, B, D of 1 or 2, H of 1 to kMaxLstmHidden
  const int32_t* cu_seqlens;                  // [B + 1]
};

// The tokens of a text in the order of a direction: token(s) for 0 <= s < length.
struct LstmWalk {
  int64_t first, step, length;
  LEXFORGE_HOST_DEVICE int64_t token(int64_t s) const { return first + s * step; }
};
LEXFORGE_HOST_DEVICE LstmWalk lstm_walk(const LstmShape& shape, int64_t text, int64_t direction) {
  const PackedSpan span = packed_span(shape.cu_seqlens, text, shape.tokens, shape.tokens);
  if (direction == 0) return {span.first, 1, span.length};
  return {span.first + span.length - 1, -1, span.length};
}

// scalar_t is float or double.
template <typename scalar_t>
struct LstmParams {
  LstmShape shape;
  const scalar_t* gates;  // [R, D, 4, H]
  const int32_t* index;   // [T] 0 <= index < R, or null
  int64_t rows;           // R; T without an index
  const scalar_t* w_hh;   // [D, 4, H, H]
  scalar_t* out;          // [T, D, H]
  scalar_t* h_n;          // [B, D, H]
  scalar_t* c_n;          // [B, D, H]
  scalar_t* activated;    // [T, D, 4, H], or null
  scalar_t* cells;        // [T, D, H], or null
};

template <typename scalar_t>
struct LstmBackwardParams {
  LstmShape shape;
  const scalar_t* w_hh;
  const scalar_t* activated;
  const scalar_t* cells;
  const scalar_t* grad_out;  // [T, D, H], or null
  const scalar_t* grad_h;    // [B, D, H], or null
  const scalar_t* grad_c;    // [B, D, H], or null
  scalar_t* grad_gates;      // [T, D, 4, H]
};

// CPU. Some texts in one direction, the longest first.
struct LstmGroup {
  int64_t direction;
  const int32_t* texts;
  int64_t count;
};

// `workspace` is 64-byte aligned, of lstm_workspace(...) bytes, one per thread.
#define LEXFORGE_DECLARE_LSTM(isa)                                                           \
  namespace isa {                                                                            \
  template <typename scalar_t>                                                               \
  int64_t lstm_workspace(int64_t hidden, int64_t count);                                     \
  template <typename scalar_t>                                                               \
  void lstm(const LstmParams<scalar_t>&, LstmGroup group, void* workspace);                  \
  template <typename scalar_t>                                                               \
  int64_t lstm_backward_workspace(int64_t hidden, int64_t count);                            \
  template <typename scalar_t>                                                               \
  void lstm_backward(const LstmBackwardParams<scalar_t>&, LstmGroup group, void* workspace); \
  }
LEXFORGE_DECLARE_LSTM(baseline)
LEXFORGE_DECLARE_LSTM(avx2)
LEXFORGE_DECLARE_LSTM(avx512)
#undef LEXFORGE_DECLARE_LSTM

// CUDA. cu_seqlens is read through packed_span: tokens that no text covers are left as they were
// allocated. A row outside `gates` makes its text NaN from there on. `packed` is scratch for the
// weights, of as many numbers as w_hh has.
template <typename scalar_t>
void launch_lstm(const LstmParams<scalar_t>& params, scalar_t* packed, void* stream);
template <typename scalar_t>
void launch_lstm_backward(const LstmBackwardParams<scalar_t>& params, void* stream);

}  // namespace lexforge
