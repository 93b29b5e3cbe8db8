// The CUDA kernel of streaming skip-gram (contract: skipgram_stream.h), float32 only.
//
// A warp trains one sentence at a time in order, so a corpus of one sentence gives the sequential
// result to rounding. Sentences run concurrently without locks: rows are read without regard to
// other warps and updated by atomic additions, so no update is lost, and rounding varies from run
// to run. The sampled stream, stats[1] and stats[2] do not.
//
// A token outside [0, V) or offsets that do not rise within [0, token_count] stop their sentence
// and make stats[0] a NaN; telling the host by an error would need a synchronisation.
#pragma once

#include "word2vec/skipgram_stream.h"

namespace lexforge {

// Largest row and table, and largest number of targets of one window: 2 window (1 + K), shared 2
// window + K.
constexpr int64_t kSkipgramCudaMaxStride = 1024;
constexpr int64_t kSkipgramCudaMaxElements = int64_t{1} << 34;
constexpr int64_t kSkipgramCudaMaxTargets = 8192;

// Starts the kernel on `stream`. next_sentence: one zero, scratch. stats: [3] on the device.
void launch_skipgram_stream(const SkipgramStreamParams<float>& params, int64_t token_count,
                            int64_t sentence_count, unsigned long long* next_sentence,
                            double* stats, void* stream);

}  // namespace lexforge
