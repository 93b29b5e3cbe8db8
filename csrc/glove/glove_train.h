// GloVe by stochastic gradient descent over tiles of the co-occurrence matrix, in place: the
// contract of lexforge::glove_train_.
//
// Pennington et al. 2014, "GloVe: global vectors for word representation", eq. 8. One entry (i, j)
// with count x > 0, word row w = W[i], context row c = C[j], biases b_i and b_j:
//
//   h(x) = min(1, (x / x_max) ^ alpha)
//   e    = dot(w, c) + b_i + b_j - log x
//   cost = h(x) e^2 / 2
//   gradient of w: clip(h e c), of c: clip(h e w), of each bias: clip(h e); element by element to
//   [-clip, clip], all from the rows as they are before this entry
//
// Optimisers, for each parameter p with gradient g; lr is the learning rate, for a bias bias_rate
// times that:
//   adagrad     p -= lr g / sqrt(a);  then a += (lr g)^2;  a = 1 at first. The learning rate is
//               inside the accumulator, as in the original tool.
//   rowwise     the same with one a per row: a += mean of (lr g)^2 over the row's D + 1 parameters
//   adam        m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
//               p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps), t the number of
//               entries that this row has seen, this one included; rows without entries stay
//
// h is computed from log x, as exp(min(0, alpha (log x - log x_max))).
//
// A row of a table is a record of `stride` elements per part, each 64-byte aligned: part 0 holds
// the vector in [0, D), the bias at [D]; adagrad has the accumulators of both in part 1, at the
// same places; rowwise has its accumulator in part 0 at [D + 1]; adam has m in part 1, v in part 2,
// and t (as a number; float32 stays at 2^24) in part 0 at [D + 1]. Everything else is zero and
// stays zero.
//
// Order. Words are dealt into P parts (part[i]); tile (p, q) holds the entries whose row is in part
// p and whose column is in part q. A pass has P rounds: round s trains the tiles (p, (p + s) mod P)
// for all p, which share no row of either table. So tiles of a round may run at the same time in
// any order, and the result depends on the parts alone: it is bit-identical for any number of
// threads. (Gemulla et al. 2011, "Large-scale matrix factorization with distributed stochastic
// gradient descent".)
//
// In a tile the entries come as segments, runs of entries of one row, in random order; so do the
// entries of a segment (glove_tiles.h). A focal row stays near for its segment.
#pragma once

#include <cstdint>

namespace lexforge {

enum class GloveOptimizer : int32_t { kAdaGrad = 0, kRowwiseAdaGrad = 1, kAdam = 2 };

// Parts of a record, each of `stride` elements.
constexpr int64_t glove_record_parts(GloveOptimizer optimizer) {
  return optimizer == GloveOptimizer::kAdaGrad ? 2 : optimizer == GloveOptimizer::kAdam ? 3 : 1;
}

// The entries of a co-occurrence matrix in training order. Tile (p, q) is number
// p P + ((q - p) mod P): the tiles of one row part are neighbours, in the order of the rounds.
struct GloveTiles {
  int64_t parts;                 // P
  int64_t segments, entries;     // U, nnz
  const int64_t* tile_begin;     // [P P + 1] first segment of each tile
  const int32_t* segment_row;    // [U]
  const int64_t* segment_begin;  // [U + 1] first entry of each segment
  const int32_t* column;         // [nnz]
  const float* log_count;        // [nnz] log x
};

template <typename scalar_t>
struct GloveTrainParams {
  scalar_t* word_table;     // [V, parts of a record, stride], 64-byte aligned
  scalar_t* context_table;  // the same
  int64_t vocab_size;
  int64_t dim;     // D, with D + 2 <= stride
  int64_t stride;  // a multiple of 16
  GloveTiles tiles;
  GloveOptimizer optimizer;
  double learning_rate, x_max, alpha, clip;
  double bias_rate;              // 1 with adam
  double beta1, beta2, epsilon;  // adam
};

// The call trains rounds [first, last) of a pass, 0 <= first <= last <= P; a pass is [0, P), in one
// call or cut into several with the same result.
//
// stats[0] += sum of the costs, stats[1] += number of entries, in double: tile by tile, in the
// order of the rounds and in a round in the order of p. A row that is no longer finite makes
// stats[0] infinite or NaN at its next entry.
//
// Tiles whose rows or columns are not in [0, V), or whose begins do not rise within the arrays,
// stop the training with an error before anything outside the tables is read or written.

}  // namespace lexforge
