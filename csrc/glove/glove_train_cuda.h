// The CUDA kernels of GloVe training (contract: glove_train.h).
//
// A round is one launch: its end is the only barrier that the rounds need. A block trains a tile.
//   deterministic   with one warp, in order: the result depends on the tiles alone
//   otherwise       with several warps where tiles are large, each with a share of the tile's
//                   segments. Rows of words still have one writer; rows of contexts are changed by
//                   atomic additions, so no update is lost, but an entry may not see those that
//                   other warps make at the same time, and results vary from run to run. (Recht et
//                   al. 2011, "Hogwild!")
// Deterministic results differ from the CPU's by the rounding of sums and roots.
//
// stats: the costs of a round's tiles are added by a fixed tree, the rounds in order; so stats too
// are the same for any split of the rounds into calls. Rows or columns out of range, and segments
// that are empty or do not rise within the arrays, end their warp's work on the tile and make
// stats[0] NaN; telling the host by an error would need a synchronisation.
#pragma once

#include "glove/glove_train.h"

namespace lexforge {

// Rounds whose sums are collected before they are added to stats.
constexpr int64_t kGloveRoundsPerSum = 64;

// Doubles of scratch that a call needs.
constexpr int64_t glove_train_scratch(int64_t parts) {
  return 2 * kGloveRoundsPerSum * (parts + 1);
}

// Trains rounds [first_round, last_round) on `stream`. stats [2] and scratch are on the device.
template <typename scalar_t>
void launch_glove_train(const GloveTrainParams<scalar_t>& params, int64_t first_round,
                        int64_t last_round, bool deterministic, double* scratch, double* stats,
                        void* stream);

}  // namespace lexforge
