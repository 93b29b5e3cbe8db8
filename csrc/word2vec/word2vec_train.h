// Word2vec over an encoded corpus, in place: the contract of lexforge::word2vec_train_, and the
// random decisions that its CPU and CUDA kernels share.
//
// Skip-gram and CBOW (Mikolov et al. 2013, "Efficient estimation of word representations in vector
// space"), by negative sampling and hierarchical softmax ("Distributed representations of words and
// phrases", eq. 3 and 4), one of them or both, trained as the original tool does: SGD, linear decay,
// with the window as one step.
//
//   for each sentence s in [first_sentence, last_sentence), p = position in the corpus:
//     kept = positions p with keep_token(p)                       sub-sampling
//     for each kept position p, i = its rank among the kept ones of the sentence:
//       lr = learning rate at the sentence's first token
//       w  = window_at(p)                                         dynamic window, 1..window
//       contexts o_0 .. o_{c-1} = kept tokens of rank i-w .. i+w without i, left to right
//       inputs x: skip-gram  each context's row of in_table, by itself
//                 CBOW       one, the mean (or sum) of the contexts' rows
//       targets of an input, label y, error e = lr * (y - sigmoid(dot(x, target's row))):
//         tree   the inner nodes on token[p]'s path, rows of tree_table; y = 1 where it turns left
//         noise  rows of out_table: token[p] with y = 1, then K noise words with y = 0, for k < K
//                noise per pair, skip-gram   noise(p, j K + k), for context j
//                otherwise                   noise(p, k): one set for the window
//                A noise word that equals token[p] is left out.
//       All errors come from the tables as they are before this window.
//
//   The targets that all inputs have in common (the tree's, and a window's noise), all right-hand
//   sides as before the window, duplicates accumulating:
//     x += sum over targets t of e_jt * row[t];  row[t] += sum over inputs of e_jt * x_j
//   then those of each input (noise per pair), and for CBOW, tree first:
//     for each input j in order: v = x_j;  sum = v
//       for its targets t in order: sum += e_jt * row[t];  row[t] += e_jt * v
//       x_j = sum
//   Of what a context's row would change by, in_scale[row] is done where there is one: 0 keeps it.
//   CBOW's x is no row: what it would change by goes to each context's row, divided by c for the
//   mean, as the chain rule has it (other tools leave the division out: Irsoy et al. 2021,
//   "Corrected CBOW performs as well as skip-gram").
//
// In skip-gram the contexts predict the centre, as in the original tool. With shared noise one set
// of noise words then meets c different inputs (Ji et al. 2016, "Parallelizing word2vec in shared
// and distributed memory"); were the centre the input, they would meet it c times over, and quality
// would suffer (WordSim-353 of 46 instead of 51 on the Wikipedia text of benchmarks/wikipedia.py).
//
//   stats[0] += sum of -log(sigmoid(y_t ? x_jt : -x_jt))             in double
//   stats[1] += number of inputs;  stats[2] += number of centres (kept tokens, also with c = 0)
//
// With bags the vector of word w is the mean (or sum) of the rows of in_table in its bag,
// bag_rows[bag_offsets[w] .. bag_offsets[w + 1]): its own and those of its n-grams (Bojanowski et al.
// 2017, "Enriching word vectors with subword information"). A row that is there twice counts twice.
// Each window with a context then has one input:
//       x: skip-gram  the vector of token[p]
//          CBOW       the mean (or sum) of all rows of all contexts' bags; cbow_mean has no say
//       targets: skip-gram, for each context o_j in order
//                  tree   the inner nodes on o_j's path
//                  noise  o_j with y = 1, then, noise per pair, noise(p, j K + k) with y = 0, for
//                         k < K; one that equals o_j is left out
//                and after all contexts, one set of noise for the window: noise(p, k) with y = 0,
//                each as often as there are contexts that it differs from: a weight of its error
//                and of its loss
//                CBOW, as above: token[p]'s path, token[p], noise(p, k)
//   v = x;  g = 0;  for the targets in order: g += e_t * row[t];  row[t] += e_t * v
//   then g is added to each row of the bags, for the mean as for the sum: the original tool too
//   leaves out the mean's division, so that words of long bags learn faster. in_scale[row] of it is
//   done where there is one.
//   stats[1] += c in skip-gram, 1 in CBOW.
//
// In skip-gram with bags the centre predicts its contexts, as in the original tool of bags, where a
// bag is then gathered once for all its pairs. A bag of no rows is none.
//
// Every draw is a function of (seed, epoch, position, slot), so the sampled stream does not depend
// on threads, devices, or on how a corpus is cut into calls. With one CPU thread windows are
// processed in order and the result is bitwise reproducible; with more, threads take turns at
// blocks of sentences and update rows without locks (Recht et al. 2011). Each turn trains the first
// rows of words (128) and the last of nodes (256), those that all threads change, in copies, whose
// changes are added to the tables at its end; of a row that all threads train n times in a turn,
// 1024 / n of the changes, down to their mean. (With in_scale none of in_table.)
//
// With shards S > 0 and shard_tokens T, on the CPU, the result is the same to the last bit for any
// number of threads. Shard k of the corpus is the sentences that begin at tokens [k T, (k + 1) T),
// round r its shards [r S, (r + 1) S). A round's shards are each trained by the rule above, one
// window after another, from the tables as they are before the round, and what they change is then
// added to the tables, in the order of the shards: of a row that c of them train, n times in all,
// 1024 / n of the changes, down to 1 / c. Of a row that one shard trains, what it made of it is
// taken. Calls that end with rounds do what one call does. With S = 1 that is the rule above. (A GPU
// has rounds of its own, with together > 0: word2vec_train_cuda.h.)
//
// A shard trains copies of the rows that it meets, in memory of the call's own or in what the caller
// keeps (shard_rows): then they are equal to the tables' rows between calls, as long as nothing else
// changes these, and a call copies only rows that none before it has met.
//
// Tables are float32, or on the CPU bfloat16, or for tests double. All is computed in float32 (in
// double), and what a row changes to is stored by word2vec_stored(), each time that a line above
// changes it; CBOW with bags adds up a plan's changes first (cpu/sums_impl.h).
//
// A sentence with fewer than two kept tokens trains nothing. Empty ranges do nothing.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "common/bfloat16.h"
#include "common/philox.h"
#include "sampling/alias.h"

namespace lexforge {

template <typename row_t>
struct Word2vecTrainParams {
  row_t* in_table;         // [R, stride] row-major, updated in place; 64-byte aligned
  row_t* out_table;        // [V, stride], or null: no negative sampling
  row_t* tree_table;       // [V - 1, stride] inner nodes, or null: no hierarchical softmax
  int64_t vocab_size;      // V < 2^31
  int64_t in_rows;         // V <= R < 2^31; R = V without bags
  int64_t stride;          // elements per row, a multiple of 16; those past dim are zero
  const int32_t* tokens;   // [N] encoded corpus, 0 <= id < V
  const int64_t* offsets;  // [S + 1] sentence s is tokens[offsets[s] .. offsets[s + 1])
  int64_t first_sentence, last_sentence;
  const float* keep;        // [V] keep probability of each word; >= 1 keeps always
  const float* in_scale;    // [R] or null: how much of its changes each row of in_table makes
  const AliasEntry* noise;  // [V] alias table of the noise distribution; with out_table alone
  // The path of word w from the root: paths[path_offsets[w] .. path_offsets[w + 1]), each twice an
  // inner node, and one more where it turns right; at most longest_path of them, at most
  // kLongestPath. With tree_table alone.
  const int64_t* path_offsets;  // [V + 1]
  const int32_t* paths;         // [path_count]
  int64_t path_count;
  int32_t longest_path;
  // Bags of rows of in_table, 0 <= row < R, each of 1 to longest_bag of them; or null.
  const int64_t* bag_offsets;  // [V + 1]
  const int32_t* bag_rows;     // [bag_count]
  int64_t bag_count;
  int32_t longest_bag;   // at most kLongestBag
  bool bag_mean;         // the mean of a bag's rows instead of their sum
  bool cbow;             // otherwise skip-gram
  bool cbow_mean;        // the contexts' mean instead of their sum
  int32_t window;        // largest distance, >= 1
  int32_t negatives;     // K >= 0
  bool dynamic_window;   // draw 1..window per centre; otherwise always window
  bool share_negatives;  // K noise words per window instead of per pair; of skip-gram
  int32_t together;      // on a GPU: windows of a round, or 0: without locks
  int32_t shards;        // on the CPU: of a round, or 0: threads update without locks
  int64_t shard_tokens;  // a shard's part of the corpus
  // lr at corpus position p = alpha + (min_alpha - alpha) * (tokens_before + p) / total_tokens
  double alpha, min_alpha;
  int64_t tokens_before;  // tokens of earlier epochs
  int64_t total_tokens;   // tokens of all epochs together
  uint64_t seed;
  uint32_t epoch;
};

// A number of a row, and what a row keeps of one: of bfloat16 one of the two numbers beside it, the
// nearer the more often, so that steps smaller than half of their distance are not lost. Which one is
// drawn from the number's own bits: of its lower half l and its upper half h, h is kept, or h + 1
// where l + (l * kRoundingFactor + h * kRoundingFactor2 mod 2^16) exceeds 16 bits.
constexpr uint16_t kRoundingFactor = 0x9E37, kRoundingFactor2 = 0x6A95;
constexpr int32_t kRoundingFactors = kRoundingFactor2 << 16 | kRoundingFactor;

template <typename row_t>
ComputedType<row_t> word2vec_number(row_t stored) {
  if constexpr (std::is_same_v<row_t, Bfloat16>) {
    return std::bit_cast<float>(uint32_t{stored.bits} << 16);
  } else {
    return stored;
  }
}

template <typename row_t>
row_t word2vec_stored(ComputedType<row_t> number) {
  if constexpr (std::is_same_v<row_t, Bfloat16>) {
    const auto word = std::bit_cast<uint32_t>(number);
    const uint32_t chance = (word & 0xFFFF) * kRoundingFactor + (word >> 16) * kRoundingFactor2;
    return {static_cast<uint16_t>((word + (chance & 0xFFFF)) >> 16)};
  } else {
    return number;
  }
}

constexpr int64_t kSentencesTogether = 256, kMostShards = 64;

// Longer than the path of any word whose count, and all counts together, fit into 64 bits.
constexpr int32_t kLongestPath = 96;

// Far more rows than the n-grams of any word of a language.
constexpr int32_t kLongestBag = 1 << 20;

// Words of the noise stream at one position: two draws to a quad, two words to a draw.
constexpr int kDrawsPerQuad = 2;

template <typename row_t>
LEXFORGE_HOST_DEVICE ComputedType<row_t> word2vec_learning_rate(
    const Word2vecTrainParams<row_t>& params, int64_t position) {
  const double progress = static_cast<double>(params.tokens_before + position) /
                          static_cast<double>(params.total_tokens);
  return static_cast<ComputedType<row_t>>(params.alpha +
                                          (params.min_alpha - params.alpha) * progress);
}

LEXFORGE_HOST_DEVICE bool word2vec_keep(uint64_t seed, uint32_t epoch, int64_t position,
                                        float keep_probability) {
  return unit_float(philox_word_at(seed, epoch, static_cast<uint64_t>(position),
                                   RandomStream::kSubsample)) < keep_probability;
}

LEXFORGE_HOST_DEVICE int32_t word2vec_window(uint64_t seed, uint32_t epoch, int64_t position,
                                             int32_t window) {
  return 1 +
         static_cast<int32_t>(bounded(
             philox_word_at(seed, epoch, static_cast<uint64_t>(position), RandomStream::kWindow),
             static_cast<uint32_t>(window)));
}

LEXFORGE_HOST_DEVICE int32_t word2vec_noise(uint64_t seed, uint32_t epoch, int64_t position,
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
