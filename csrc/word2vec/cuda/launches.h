// The kernels of word2vec_train_ on CUDA, and what they are started with.
#pragma once

#include <cuda_runtime.h>

#include "word2vec/word2vec_train_cuda.h"

namespace lexforge::word2vec {

constexpr int kWarpsPerBlock = 4;

// A round's changes are summed in fixed point of 36 binary places. A change of one number by 256 or
// more, or by no number, is told as divergence; half a million below that cannot overflow.
constexpr float kFixedOne = 68719476736.0f;  // 2^36
constexpr float kMostChange = 256.0f;

// A row that a round draws n times, as a context, centre, noise word or node, changes by the sum of
// what they add up to this many, and by kMostDraws / n of it beyond.
constexpr int32_t kMostDraws = 64;

// Nodes near the root are on the paths of most windows. Without rounds, the changes of a node that
// more pairs than this meet at the same time are damped to what so many would do.
constexpr float kPairsAtOnce = 128.0f;

// What a call counts in rounds, by blocks in turn: losses in units of 2^-24, inputs, centres.
struct alignas(32) RoundTotals {
  unsigned long long loss, inputs, centers;
  unsigned long long diverged;
};
constexpr int kRoundTotals = kWord2vecRoundTotals / 4;
constexpr double kLossOne = 16777216.0;        // 2^24
constexpr double kMostLoss = 1099511627776.0;  // 2^40, of a window

// The sums of one table.
struct RoundSums {
  unsigned long long* start;  // [rows, 4, row_packs]: number 4 c + i of a row is [row, i, c]
  int32_t* draws;             // [rows] how often the round drew the row
  unsigned long long* diverged;
};

// Windows of the centres at positions [first, last), in sentences [first_sentence, last_sentence).
struct Round {
  int64_t first_sentence, last_sentence, first, last;
  const uint32_t* kept;  // bit p % 32 of word p / 32: the token at p survives sub-sampling
  bool counts;           // or another kernel counts this round's windows and their contexts
  RoundSums in, out, tree;
  RoundTotals* totals;  // [kRoundTotals]
};

struct Launch {
  int64_t token_count;
  int64_t sentence_count;  // in the call
  uint32_t row_packs;      // a row's length in units of four floats
  int32_t ring_size;       // set by start()
  int32_t warp_bytes;      // set by start()
  float root_share;        // set by start(): of the root's change that is made; twice it a level on
  // Without rounds:
  unsigned long long* next_sentence;
  double* stats;
  // With rounds, together > 0:
  Round round;
};

using Starter = void(const Word2vecTrainParams<float>& params, const Launch& launch,
                     cudaStream_t stream);
Starter start_pair;    // skip-gram with noise per pair; and a tree, without rounds
Starter start_shared;  // skip-gram with targets that all contexts share
Starter start_cbow;
Starter start_bags;  // skip-gram and CBOW of bags

// Targets that make a tile: as many as stay in registers. Shared noise takes 6 or 8, by what leaves
// less of the last tile empty; paths have all lengths.
int64_t rows_together(const Word2vecTrainParams<float>& params);

// Kept tokens that a warp's ring holds.
int64_t ring_size_for(int64_t window);

}  // namespace lexforge::word2vec
