// The CUDA kernel of streaming skip-gram (contract: word2vec_train.h), float32 only.
//
// A warp trains one sentence at a time in order, so a corpus of one sentence gives the sequential
// result to rounding. Sentences run concurrently without locks: rows are read without regard to
// other warps and updated by atomic additions, so no update is lost, and rounding varies from run
// to run. The sampled stream, stats[1] and stats[2] do not.
//
// A token outside [0, V) or offsets that do not rise within [0, token_count] stop their sentence
// and make stats[0] a NaN; telling the host by an error would need a synchronisation.
#pragma once

#include "word2vec/word2vec_train.h"

namespace lexforge {

// Largest row and table, and most shared memory that a warp's lists and rows may take.
constexpr int64_t kWord2vecCudaMaxStride = 1024;
constexpr int64_t kWord2vecCudaMaxElements = int64_t{1} << 34;
constexpr int64_t kWord2vecCudaMaxWarpBytes = 160 * 1024;

// Shared memory of one warp: 16 bytes for each token in reach and, with T = 1 + K targets,
//   noise per pair   4 bytes for each of the 2 window contexts and 8 for each of its noise words
//   shared noise     8 bytes for each of the 2 window contexts and T targets; where the targets do
//                    not fit into registers (8 up to 256 floats, 6 up to 384, 4 up to 512, 2
//                    beyond) also 4 T (stride + 2 window)
int64_t word2vec_cuda_warp_bytes(int64_t window, int64_t negatives, bool share_negatives,
                                 int64_t stride);

// Starts the kernel on `stream`. next_sentence: one zero, scratch. stats: [3] on the device.
void launch_word2vec_train(const Word2vecTrainParams<float>& params, int64_t token_count,
                           int64_t sentence_count, unsigned long long* next_sentence, double* stats,
                           void* stream);

}  // namespace lexforge
