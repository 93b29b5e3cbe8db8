// The CPU builds of the streaming skip-gram kernel (contract: word2vec_train.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "word2vec/word2vec_train.h"

namespace lexforge {

// Trains on the sentences of params.first_sentence .. last_sentence in order, on the calling
// thread, and adds to stats[0..2]. `workspace` is 64-byte aligned scratch memory. Returns false,
// having stopped, when a token is not in [0, V) or the offsets do not rise within [0, token_count].
template <typename scalar_t>
using Word2vecTrainFunction = bool(const Word2vecTrainParams<scalar_t>& params, int64_t token_count,
                                   void* workspace, double* stats);

namespace baseline {
Word2vecTrainFunction<float> word2vec_train;
Word2vecTrainFunction<double> word2vec_train_double;  // for tests
}  // namespace baseline
namespace avx2 {
Word2vecTrainFunction<float> word2vec_train;
}
namespace avx512 {
Word2vecTrainFunction<float> word2vec_train;
}

// Sizes of a thread's workspace.
struct Word2vecTrainPlan {
  static constexpr int64_t kTile = 6;     // targets handled together: a positive, five noise words
  static constexpr int64_t kErrors = 8;   // their weights and errors lie this far apart
  static constexpr int64_t kKept = 2048;  // kept tokens read at a time, besides the windows

  int64_t tiles;       // of targets: per context, or with shared noise per window
  int64_t most_tiles;  // of the widest window
  int64_t most_inputs;
  int64_t most_draws;  // noise draws of the widest window
  int64_t most_rows;   // targets and inputs
  int64_t planned;     // centres planned at a time
  int64_t kept;        // capacity of the buffer of kept tokens

  Word2vecTrainPlan(int64_t window, int64_t negatives, bool share_negatives) {
    most_inputs = 2 * window;
    tiles = (1 + negatives + kTile - 1) / kTile;
    most_tiles = share_negatives ? tiles : tiles * most_inputs;
    most_draws = share_negatives ? negatives : most_inputs * negatives;
    most_rows = most_tiles * kTile + most_inputs;
    planned = most_rows >= 2048 ? 1 : 2048 / most_rows < 32 ? 2048 / most_rows : 32;
    kept = kKept + 2 * window;
  }
};

// Bytes of workspace for one thread.
inline size_t word2vec_train_workspace(int32_t window, int32_t negatives, bool share_negatives,
                                       int64_t stride, size_t scalar_size) {
  const Word2vecTrainPlan sizes(window, negatives, share_negatives);
  const size_t widest = 64;  // elements that a register or a span may run over an array's end
  const size_t planned = static_cast<size_t>(sizes.planned);
  const size_t kept = static_cast<size_t>(sizes.kept) + 2 * widest;
  const size_t rows = planned * static_cast<size_t>(sizes.most_rows) + widest;
  const size_t tiles = static_cast<size_t>(sizes.most_tiles);
  const size_t quads = planned * static_cast<size_t>(sizes.most_draws + 1) + 2 * widest;
  const size_t plan = rows * sizeof(void*) + planned * tiles * sizes.kErrors * scalar_size +
                      planned * (64 + 2 * sizeof(int32_t)) + quads * 5 * sizeof(uint32_t) +
                      static_cast<size_t>(stride) * scalar_size;
  const size_t errors = static_cast<size_t>(sizes.tiles * sizes.most_inputs) * sizes.kErrors;
  const size_t changes = static_cast<size_t>(sizes.tiles * sizes.kTile) * 16;
  const size_t bytes = kept * (3 * sizeof(int32_t) + sizeof(int64_t) + scalar_size) + 2 * plan +
                       (errors + changes) * scalar_size;
  return (bytes + 64 * 48) / 64 * 64;  // each of some 40 arrays starts at a cache line
}

}  // namespace lexforge
