// The contract of the sampling ops: alias tables, draws from them, and noise that avoids positives.
//
// build_alias(weights [V]) -> table [V]
//   A draw is index i with probability weights[i] / sum(weights) to within 2^-31, and never where
//   the weight is 0. Weights are finite, not negative, at least one is above 0; 1 <= V < 2^31. The
//   table is the same on every device:
//
//     share[i] = rint(weights[i] / sum * V * 2^32), and share[argmax] takes up what is left of
//     V * 2^32, so that everything from here on is exact in 64-bit integers. With U = 2^32,
//     lights = indices with share < U, heavies = those with share >= U, both in ascending order:
//       D_i = sum of U - share over the lights before light i       (what they lack)
//       H_j = sum of share - U over the heavies up to heavy j       (what those can give)
//       light i:  threshold = share,         alias = first heavy j with H_j > D_i
//       heavy j:  threshold = U + H_j - D_i  for the first i with D_i >= H_j, alias = heavy j + 1;
//                 where that is U, its own alias
//
//   This is the sweep of Vose (1991) in the order of Huebschle-Schneider and Sanders 2022
//   ("Parallel weighted random sampling", PSA), where each entry can be found by a binary search. A
//   heavy keeps a threshold above 0, hence: an index has probability 0 exactly when its threshold
//   is 0 and it is not its own alias.
//
// alias_sample(table, n, seed, offset) -> draws [n]
//   out[e] = alias_draw(words 2 (c & 1) and 2 (c & 1) + 1 of the quad
//                       (seed, epoch 0, position c >> 1, kAliasSample, slot 0)),  c = offset + e
//   so that draws do not depend on threads or devices, and two calls at consecutive offsets give
//   what one call gives.
//
// sample_noise(table, positives, offsets [R + 1], positions [R], K, seed, epoch) -> noise [K P]
//   Row r has the positives positives[offsets[r] .. offsets[r + 1]) and K draws for each of them,
//   at the same place of the result: noise[K offsets[r] .. K offsets[r + 1]). Draw d of n in a row:
//     for t in 0 .. kNoiseTries - 1:
//       a = t n + d;  x = alias_draw(words 2 (a & 1) and 2 (a & 1) + 1 of the quad
//                                    (seed, epoch, positions[r], kNoise, slot a >> 1))
//       x is not a positive of the row: done
//     x = the next index after x, cyclically, of non-zero probability and not a positive of the
//     row; where there is none, the last x stays
//   Positives may repeat; what is drawn is not compared with other draws. n <= kMaxNoisePerRow.
#pragma once

#include <cstdint>

#include "common/host_device.h"
#include "common/philox.h"
#include "sampling/alias.h"

namespace lexforge {

struct AliasSampleParams {
  const AliasEntry* table;  // [V]
  int64_t size;             // 1 <= V < 2^31
  uint64_t seed;
  uint64_t offset;
};

constexpr uint32_t kNoiseTries = 32;
constexpr int64_t kMaxNoisePerRow = 1 << 20;  // keeps slots below 2^24

struct SampleNoiseParams {
  const AliasEntry* table;   // [V]
  int64_t size;              // 1 <= V < 2^31
  const int32_t* positives;  // [P]
  const int64_t* offsets;    // [R + 1], ascending from 0 to P
  const int64_t* positions;  // [R], or null: first_position + r
  int64_t first_position;
  int64_t rows, count;  // R, P
  int64_t negatives;    // K >= 0
  uint64_t seed;
  uint32_t epoch;
  int32_t* noise;  // [K P], written
};

// Words for draw `index` of a stream that puts two draws into a quad.
struct DrawWords {
  uint32_t word0, word1;
};

LEXFORGE_HOST_DEVICE DrawWords words_of_draw(const PhiloxQuad& quad, uint64_t index) {
  return (index & 1) != 0 ? DrawWords{quad.word[2], quad.word[3]}
                          : DrawWords{quad.word[0], quad.word[1]};
}

LEXFORGE_HOST_DEVICE int32_t alias_sample_at(const AliasSampleParams& params, int64_t e) {
  const uint64_t c = params.offset + static_cast<uint64_t>(e);
  const DrawWords words =
      words_of_draw(philox_at(params.seed, 0, c >> 1, RandomStream::kAliasSample, 0), c);
  return alias_draw(params.table, static_cast<uint32_t>(params.size), words.word0, words.word1);
}

LEXFORGE_HOST_DEVICE uint64_t noise_position(const SampleNoiseParams& params, int64_t row) {
  return static_cast<uint64_t>(params.positions != nullptr ? params.positions[row]
                                                           : params.first_position + row);
}

LEXFORGE_HOST_DEVICE bool is_positive(const int32_t* positives, int64_t count, int32_t x) {
  for (int64_t i = 0; i < count; ++i) {
    if (positives[i] == x) return true;
  }
  return false;
}

// What becomes of draw d of n when its first try gave x, a positive.
LEXFORGE_HOST_DEVICE int32_t redraw_noise(const SampleNoiseParams& params, uint64_t position,
                                          const int32_t* positives, int64_t count, int64_t n,
                                          int64_t d, int32_t x) {
  for (uint32_t t = 1; t < kNoiseTries; ++t) {
    const uint64_t a = static_cast<uint64_t>(t * n + d);
    const DrawWords words =
        words_of_draw(philox_at(params.seed, params.epoch, position, RandomStream::kNoise,
                                static_cast<uint32_t>(a >> 1)),
                      a);
    x = alias_draw(params.table, static_cast<uint32_t>(params.size), words.word0, words.word1);
    if (!is_positive(positives, count, x)) return x;
  }
  const int64_t last = static_cast<uint32_t>(x);
  for (int64_t step = 1; step < params.size; ++step) {
    const int64_t next = (last + step) % params.size;
    const AliasEntry entry = params.table[next];
    const bool possible = entry.threshold != 0 || entry.alias == static_cast<uint32_t>(next);
    if (possible && !is_positive(positives, count, static_cast<int32_t>(next))) {
      return static_cast<int32_t>(next);
    }
  }
  return x;
}

// CPU. build_alias_cpu returns false, and leaves the table alone, when a weight is negative or not
// finite or none is positive. The others work on a range, elements or rows [begin, end).
template <typename scalar_t>
bool build_alias_cpu(const scalar_t* weights, int64_t size, AliasEntry* table);  // float, double

#define LEXFORGE_SAMPLING_CPU(isa)                                                              \
  namespace isa {                                                                               \
  template <typename index_t> /* int32_t, int64_t */                                            \
  void alias_sample(const AliasSampleParams& params, int64_t begin, int64_t end, index_t* out); \
  void sample_noise(const SampleNoiseParams& params, int64_t begin, int64_t end);               \
  }
LEXFORGE_SAMPLING_CPU(baseline)
LEXFORGE_SAMPLING_CPU(avx2)
LEXFORGE_SAMPLING_CPU(avx512)
#undef LEXFORGE_SAMPLING_CPU

// CUDA. Scratch of build_alias, in elements for V weights.
constexpr int64_t build_alias_scratch_shares(int64_t size) { return 2 * size; }  // uint64
constexpr int64_t build_alias_scratch_order(int64_t size) { return size + 1; }   // int32

template <typename scalar_t>
void launch_build_alias(const scalar_t* weights, int64_t size, uint64_t* shares, int32_t* order,
                        AliasEntry* table, void* stream);
template <typename index_t>
void launch_alias_sample(const AliasSampleParams& params, int64_t n, index_t* out, void* stream);
void launch_sample_noise(const SampleNoiseParams& params, void* stream);

}  // namespace lexforge
