// The CUDA kernels of word2vec_train_ (contract: word2vec_train.h), float32 only.
//
// together = 0: a warp trains one sentence at a time in order, so a corpus of one sentence gives
// the sequential result to rounding. Sentences run concurrently without locks: rows are read
// without regard to other warps and updated by atomic additions, so no update is lost, and rounding
// varies from run to run. The sampled stream, stats[1] and stats[2] do not. Where more than 128
// pairs are in flight, the changes of nodes near the root of a tree, which all of them meet, are
// damped: to 128 parts of the pairs in flight for the root, twice as much at each level after it.
//
// together > 0: the same bits in every run, by rounds. Sentences [256 k, 256 (k + 1)) are a group;
// a round is the windows of word2vec_cuda_round() successive tokens of a group, its last one of
// what is left. All that a round changes comes from the tables as they are before it: a round is a
// step of gradient descent, each window at its own learning rate. But a row that a round draws n
// times, n > 64, as a context, centre, noise word or node, or in a bag, changes by 64 / n of that
// sum: frequent words and n-grams, and nodes near the root, would overshoot. (With bags a window's
// shared noise word counts once for each context that it differs from.) Changes are summed in fixed
// point (integers, whose order does not matter) and added to the tables when the round has ended.
// Calls that end at multiples of 256 sentences, or at the last one, do what one call does. The
// scratch memory is twice that of the tables and a bit for each token. A change of one number by
// 256 or more is left out and makes stats[0] a NaN. stats[0] is summed in units of 2^-24.
//
// stats[0] also becomes a NaN by a token outside [0, V), which ends its sentence (in rounds it is
// left out); by a path that is longer than said or leaves [0, V - 1), or a bag that is empty,
// longer than said or leaves [0, R): a window that needs it trains nothing; by offsets that do not
// rise within [0, token_count], whose sentence trains nothing. Telling the host by an error would
// need a synchronisation. Rounds do need the offsets on the host, wait for them,
// and check them there.
#pragma once

#include "word2vec/word2vec_train.h"

namespace lexforge {

// Largest row and table, and most shared memory that a warp's lists and rows may take.
constexpr int64_t kWord2vecCudaMaxStride = 1024;
constexpr int64_t kWord2vecCudaMaxElements = int64_t{1} << 34;
constexpr int64_t kWord2vecCudaMaxWarpBytes = 160 * 1024;

// Shared memory of one warp: 16 bytes for each token in reach, the power of two above 2 window + 33
// of them, and
//   bags            8 T, T targets: CBOW's as below; in skip-gram, for each of the 2 window
//                   contexts, its path (at most V - 1 nodes in all) and, with noise, itself and K
//                   noise words, or K for the window
//   CBOW            8 T, T targets: the longest path and, with noise, 1 + K
//   noise per pair  4 bytes for each of the 2 window contexts and 8 for each of its noise words,
//                   and with a tree that of T = the longest path, as below
//   otherwise       8 bytes for each of the 2 window contexts and T targets; where the targets do
//                   not fit into registers (a path and noise; more than 8 up to 256 floats, 6 with
//                   a tree, in rounds or up to 384, 4 up to 512, 2 beyond, 1 there in rounds)
//                   also 4 T (stride + 2 window)
int64_t word2vec_cuda_warp_bytes(const Word2vecTrainParams<float>& params);

// How many windows are trained at the same time at most, and tokens of a round.
int64_t word2vec_cuda_windows_at_once(int64_t vocab_size, int64_t token_count);
int64_t word2vec_cuda_round(const Word2vecTrainParams<float>& params, int64_t token_count);

// Starts the kernel on `stream`. next_sentence: one zero, scratch. stats: [3] on the device.
void launch_word2vec_train(const Word2vecTrainParams<float>& params, int64_t token_count,
                           unsigned long long* next_sentence, double* stats, void* stream);

// Scratch of training in rounds, zeros.
struct Word2vecRoundScratch {
  unsigned long long* sums[3];  // [R, stride], [V, stride], [V - 1, stride]: in, out, tree
  int32_t* draws[3];            // [R], [V], [V - 1]
  unsigned long long* totals;   // [kWord2vecRoundTotals]
  uint32_t* kept;               // a bit for each token
};
constexpr int64_t kWord2vecRoundTotals = 256;

// Returns whether the offsets rise within [0, token_count]; nothing is trained otherwise.
bool launch_word2vec_rounds(const Word2vecTrainParams<float>& params, int64_t token_count,
                            const Word2vecRoundScratch& scratch, double* stats, void* stream);

}  // namespace lexforge
