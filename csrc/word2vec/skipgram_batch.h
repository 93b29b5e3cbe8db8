// Minibatches of the reference recipe, drawn from an encoded corpus: the contract of
// lexforge::skipgram_windows, skipgram_batch and of the examples that skipgram_epoch_ trains on.
//
// skipgram_windows: sub-sampling and windows of one epoch.
//   for each sentence s, p = position in the corpus:
//     kept = positions p with keep_token(p)     (word2vec_keep of word2vec_train.h)
//     for each kept position p, i = its rank among all kept ones of the corpus:
//       w = window drawn at p (word2vec_window), or always `window`
//       the contexts are the kept tokens of rank first .. last - 1 without i,
//       [first, last) = [i - w, i + w + 1) cut to the sentence; a centre without one is left out
//
// Example e of an epoch is centre order[e], with c contexts at corpus position p; its targets are
//   the c contexts, left to right, with label 1, then K c noise words with label 0:
//   sample_noise (sampling/sampling.h) of the contexts, at position p
// and its mask is 1 on all of them. Every draw is a function of (seed, epoch, position).
#pragma once

#include <cstdint>

#include "sampling/sampling.h"
#include "word2vec/skipgram_step.h"

namespace lexforge {

constexpr int64_t kCenterFields = 3;  // rank, first, last

struct SkipgramWindowsParams {
  const int32_t* tokens;   // [N] 0 <= id < V
  const int64_t* offsets;  // [S + 1]
  const float* keep;       // [V]
  int32_t window;
  bool dynamic_window;
  uint64_t seed;
  uint32_t epoch;
};

// Kept tokens and centres of sentences [first, last): counted, then written.
struct SkipgramWindowsCount {
  int64_t kept, centers;
};
SkipgramWindowsCount count_windows(const SkipgramWindowsParams& params, int64_t first,
                                   int64_t last);
// `rank` and the pointers are where this range's first kept token and centre go.
void write_windows(const SkipgramWindowsParams& params, int64_t first, int64_t last, int64_t rank,
                   int32_t* kept_token, int64_t* kept_position, int32_t* center);

struct SkipgramSource {
  const int32_t* kept_token;     // [M]
  const int64_t* kept_position;  // [M]
  int64_t kept_count;            // M
  const int32_t* center;         // [C, 3] rank, first, last
  int64_t center_count;          // C
  const int64_t* order;          // [E]
  const AliasEntry* noise;       // [V]
  int64_t vocab_size;            // V
  int64_t window;                // no centre has more than 2 window contexts
  int64_t negatives;             // K
  uint64_t seed;
  uint32_t epoch;

  int64_t most_contexts() const { return 2 * window; }
  int64_t most_slots() const { return 2 * window * (1 + negatives); }
};

// Scratch of one batch being drawn.
struct SkipgramDraw {
  int32_t* positives;  // [B 2 window + 1]
  int64_t* offsets;    // [B + 1]
  int64_t* positions;  // [B]
  int32_t* noise;      // [K B 2 window]
};

// Draws examples [first, last) of the order: fills center, begin, target, example, weight and label
// of `batch`. Returns false on a centre, rank or token out of range.
bool draw_minibatch(const SkipgramSource& source, int64_t first, int64_t last, SkipgramDraw& draw,
                    SkipgramMinibatch& batch);

}  // namespace lexforge
