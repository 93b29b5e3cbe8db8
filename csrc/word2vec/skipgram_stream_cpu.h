// The CPU builds of the streaming skip-gram kernel (contract: skipgram_stream.h).
#pragma once

#include <cstddef>

#include "word2vec/skipgram_stream.h"

namespace lexforge {

// Trains on the sentences of params.first_sentence .. last_sentence in order, on the calling
// thread, and adds to stats[0..2]. `workspace` is 64-byte aligned scratch memory. Returns false,
// having stopped, when a token is not in [0, V) or the offsets do not rise within [0, token_count].
template <typename scalar_t>
using SkipgramStreamFunction = bool(const SkipgramStreamParams<scalar_t>& params,
                                    int64_t token_count, void* workspace, double* stats);

// Bytes of workspace for one thread.
size_t skipgram_stream_workspace(int32_t window, int32_t negatives, bool share_negatives,
                                 int64_t stride, size_t scalar_size);

namespace baseline {
SkipgramStreamFunction<float> skipgram_stream;
SkipgramStreamFunction<double> skipgram_stream_double;  // for tests
}  // namespace baseline
namespace avx2 {
SkipgramStreamFunction<float> skipgram_stream;
}
namespace avx512 {
SkipgramStreamFunction<float> skipgram_stream;
}

// Sizes of a thread's workspace.
struct SkipgramStreamPlan {
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

  SkipgramStreamPlan(int64_t window, int64_t negatives, bool share_negatives) {
    most_inputs = 2 * window;
    tiles = (1 + negatives + kTile - 1) / kTile;
    most_tiles = share_negatives ? tiles : tiles * most_inputs;
    most_draws = share_negatives ? negatives : most_inputs * negatives;
    most_rows = most_tiles * kTile + most_inputs;
    planned = most_rows >= 2048 ? 1 : 2048 / most_rows < 32 ? 2048 / most_rows : 32;
    kept = kKept + 2 * window;
  }
};

}  // namespace lexforge
