// Classification of lines of text, in place: the contract of lexforge::classify_train_, and the
// random decisions of its kernels.
//
// A line is the mean of its features' rows, and a linear classifier over its labels is trained with
// them by SGD (Joulin et al. 2017, "Bag of tricks for efficient text classification"), as the
// original tool does.
//
//   for each line s in [first_line, last_line), with types t_0 .. t_{m-1} and labels:
//     features:  bag_rows of each type's bag; then for i = 0 .. m-1 and H = hash[t_i], for
//                j = i+1 .. min(i + word_ngrams, m) - 1:  H = H * 116049371 + hash[t_j] mod 2^64,
//                bucket b = H mod buckets:  row words + b, or words + bucket_rows[b] where there are
//                bucket_rows, and none where that is -1.  Hashes are numbers with a sign.
//     f = number of features (duplicates count).  Without one, or without labels, nothing happens.
//     x  = mean of the f rows of in_table
//     lr = alpha + (min_alpha - alpha) * (tokens_before + offsets[s]) / total_tokens
//     c  = one of the labels, label_at(s); all of them with kOneVsAll
//     targets, rows of out_table, with errors e and the loss (y = 1 or 0):
//       kSoftmax      every label: e = lr * (y - softmax(out_table x)), y = 1 for c;
//                     loss -log softmax at c
//       kOneVsAll     every label: e = lr * (y - sigmoid(dot(row, x))), y = 1 for those of the line
//       kNegative     c with y = 1, and K noise labels with y = 0: the draws noise_at(s, 0), (s, 1),
//                     ... that are not c, of at most kDrawsPerNegative * K draws; likewise
//       kTree         the inner nodes on c's path; y = 1 where it turns right (as fastText's files
//                     have it; word2vec_train.h has it the other way); likewise
//     loss of these: sum of -log(sigmoid(y ? score : -score))
//     All errors come from the tables as they are before this line, and the changes too:
//     each target's row += e * x;   each feature's row += sum of e * target's row / f
//
//   stats[0] += losses, in double;  stats[1] += number of lines that were trained
//
// A draw is a function of (seed, epoch, line, slot), so the drawn labels do not depend on threads or
// on how lines are cut into calls. With one thread lines are processed in order and the result is
// bitwise reproducible; with more, threads take turns at blocks of lines and update rows without
// locks (Recht et al. 2011). Empty ranges do nothing.
#pragma once

#include <cstdint>

#include "common/philox.h"
#include "sampling/alias.h"

namespace lexforge {

enum class ClassifyLoss : int32_t { kSoftmax, kOneVsAll, kNegative, kTree };

template <typename scalar_t>
struct ClassifyTrainParams {
  scalar_t* in_table;   // [R, stride] row-major, updated in place; 64-byte aligned rows
  scalar_t* out_table;  // [L, stride], updated in place; of a tree the first L - 1 are inner nodes
  int64_t labels;       // L
  int64_t stride;       // elements per row, a multiple of 16; those past dim are zero
  const int32_t* tokens;         // [N] types, 0 <= t < T
  const int64_t* offsets;        // [S + 1] line s is tokens[offsets[s] .. offsets[s + 1])
  const int32_t* label_ids;      // [M], 0 <= id < L
  const int64_t* label_offsets;  // [S + 1] its labels, likewise
  int64_t first_line, last_line;
  const int64_t* bag_offsets;  // [T + 1]; a bag may be empty
  const int32_t* bag_rows;     // rows of in_table
  const int32_t* hashes;       // [T]
  int64_t words;               // the row of in_table from which on buckets have theirs
  int64_t buckets;             // with word_ngrams > 1 at least 1
  const int32_t* bucket_rows;  // [buckets] or null
  int32_t word_ngrams;         // >= 1; 1: words alone
  ClassifyLoss loss;
  const AliasEntry* noise;      // [L] alias table of kNegative
  int32_t negatives;            // K
  const int64_t* path_offsets;  // [L + 1] of kTree
  const int32_t* paths;         // from the root, each twice an inner node, and one more for right
  double alpha, min_alpha;
  int64_t tokens_before;  // tokens of earlier epochs
  int64_t total_tokens;   // tokens of all epochs together
  uint64_t seed;
  uint32_t epoch;
};

constexpr int64_t kDrawsPerNegative = 64;

LEXFORGE_HOST_DEVICE int32_t classify_label_at(uint64_t seed, uint32_t epoch, int64_t line,
                                               int64_t count) {
  return static_cast<int32_t>(
      bounded(philox_word_at(seed, epoch, static_cast<uint64_t>(line), RandomStream::kLineLabel),
              static_cast<uint32_t>(count)));
}

// Two draws to a quad.
LEXFORGE_HOST_DEVICE int32_t classify_noise_at(uint64_t seed, uint32_t epoch, int64_t line,
                                               uint32_t draw, const AliasEntry* noise,
                                               int64_t labels) {
  const PhiloxQuad quad =
      philox_at(seed, epoch, static_cast<uint64_t>(line), RandomStream::kNoiseLabel, draw / 2);
  const bool second = draw % 2 != 0;
  return alias_draw(noise, static_cast<uint32_t>(labels), second ? quad.word[2] : quad.word[0],
                    second ? quad.word[3] : quad.word[1]);
}

}  // namespace lexforge
