// Skip-gram with negative sampling over an encoded corpus, in place: the contract of
// lexforge::skipgram_train_, and the random decisions that its CPU and CUDA kernels share.
//
// Mikolov et al. 2013, "Distributed representations of words and phrases", eq. 4, trained as the
// original tool does (SGD, linear decay), with the window as one step:
//
//   for each sentence s in [first_sentence, last_sentence), p = position in the corpus:
//     kept = positions p with keep_token(p)                       sub-sampling
//     for each kept position p, i = its rank among the kept ones of the sentence:
//       lr = learning rate at the sentence's first token
//       w  = window_at(p)                                         dynamic window, 1..window
//       contexts o_0 .. o_{c-1} = kept tokens of rank i-w .. i+w without i, left to right
//       targets of context j, label y = 1 for the first and 0 for the others:
//         noise per pair:  token[p], then for k < K: noise(p, j K + k)
//         shared noise:    token[p], then for k < K: noise(p, k)
//         A noise word that equals token[p] is left out.
//       x_jt = dot(in_table[o_j], out_table[t]),  e_jt = lr * (y_t - sigmoid(x_jt)), all of them
//         from the tables as they are before this window
//       noise per pair:
//         for j < c in order: v = in_table[o_j];  sum = v
//           for t in order: sum += e_jt * out_table[t];  out_table[t] += e_jt * v
//           in_table[o_j] = sum
//       shared noise, all right-hand sides as before this window, duplicates accumulating:
//         in_table[o_j] += sum over t of e_jt * out_table[t]
//         out_table[t]  += sum over j of e_jt * in_table[o_j]
//
// The contexts predict the centre, as in the original tool. With shared noise one set of noise
// words then meets c different inputs (Ji et al. 2016, "Parallelizing word2vec in shared and
// distributed memory"); were the centre the input, they would meet it c times over, and quality
// would suffer (WordSim-353 of 46 instead of 51 on the Wikipedia text of benchmarks/wikipedia.py).
//
//   stats[0] += sum of -log(sigmoid(y_t ? x_jt : -x_jt))             in double
//   stats[1] += sum of c (pairs);  stats[2] += number of centres (kept tokens, also with c = 0)
//
// Every draw is a function of (seed, epoch, position, slot), so the sampled stream does not depend
// on threads, devices, or on how a corpus is cut into calls. With one CPU thread windows are
// processed in order and the result is bitwise reproducible; with more, threads take turns at
// blocks of sentences and update rows without locks (Recht et al. 2011).
//
// A sentence with fewer than two kept tokens trains nothing. Empty ranges do nothing.
#pragma once

#include <cstdint>

#include "common/philox.h"
#include "sampling/alias.h"

namespace lexforge {

template <typename scalar_t>
struct SkipgramTrainParams {
  scalar_t* in_table;      // [V, stride] row-major, updated in place; 64-byte aligned rows
  scalar_t* out_table;     // [V, stride]
  int64_t vocab_size;      // V < 2^31
  int64_t stride;          // elements per row, a multiple of 16; those past dim are zero
  const int32_t* tokens;   // [N] encoded corpus, 0 <= id < V
  const int64_t* offsets;  // [S + 1] sentence s is tokens[offsets[s] .. offsets[s + 1])
  int64_t first_sentence, last_sentence;
  const float* keep;        // [V] keep probability of each word; >= 1 keeps always
  const AliasEntry* noise;  // [V] alias table of the noise distribution
  int32_t window;           // largest distance, >= 1
  int32_t negatives;        // K >= 0
  bool dynamic_window;      // draw 1..window per centre; otherwise always window
  bool share_negatives;     // K noise words per window instead of per pair
  // lr at corpus position p = alpha + (min_alpha - alpha) * (tokens_before + p) / total_tokens
  double alpha, min_alpha;
  int64_t tokens_before;  // tokens of earlier epochs
  int64_t total_tokens;   // tokens of all epochs together
  uint64_t seed;
  uint32_t epoch;
};

// Words of the noise stream at one position: two draws to a quad, two words to a draw.
constexpr int kDrawsPerQuad = 2;

template <typename scalar_t>
LEXFORGE_HOST_DEVICE scalar_t skipgram_learning_rate(const SkipgramTrainParams<scalar_t>& params,
                                                     int64_t position) {
  const double progress = static_cast<double>(params.tokens_before + position) /
                          static_cast<double>(params.total_tokens);
  return static_cast<scalar_t>(params.alpha + (params.min_alpha - params.alpha) * progress);
}

LEXFORGE_HOST_DEVICE bool skipgram_keep(uint64_t seed, uint32_t epoch, int64_t position,
                                        float keep_probability) {
  return unit_float(philox_word_at(seed, epoch, static_cast<uint64_t>(position),
                                   RandomStream::kSubsample)) < keep_probability;
}

LEXFORGE_HOST_DEVICE int32_t skipgram_window(uint64_t seed, uint32_t epoch, int64_t position,
                                             int32_t window) {
  return 1 +
         static_cast<int32_t>(bounded(
             philox_word_at(seed, epoch, static_cast<uint64_t>(position), RandomStream::kWindow),
             static_cast<uint32_t>(window)));
}

LEXFORGE_HOST_DEVICE int32_t skipgram_noise(uint64_t seed, uint32_t epoch, int64_t position,
                                            uint32_t draw, const AliasEntry* noise,
                                            int64_t vocab_size) {
  const PhiloxQuad quad = philox_at(seed, epoch, static_cast<uint64_t>(position),
                                    RandomStream::kNegative, draw / kDrawsPerQuad);
  // Selects, not an index: a GPU would put the quad into memory for that.
  const bool second = draw % kDrawsPerQuad != 0;
  return alias_draw(noise, static_cast<uint32_t>(vocab_size), second ? quad.word[2] : quad.word[0],
                    second ? quad.word[3] : quad.word[1]);
}

}  // namespace lexforge
