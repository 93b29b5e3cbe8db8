// Philox4x32-10, the counter-based generator of Salmon et al. 2011 ("Parallel random numbers: as
// easy as 1, 2, 3"), for host and device.
//
// A draw is a pure function of (key, counter), so nothing has to be carried along: the same draws
// come out on CPU and GPU, for any number of threads, and after any resume. The project's counters:
//
//   key      the 64-bit seed: low word, high word
//   counter  { position low, position high, epoch, stream << 24 | slot }
//
// `stream` says what the number is for (random_stream below), so that two uses of one seed and one
// position never share numbers. `slot` counts quads within a stream at one position.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace lexforge {

struct PhiloxQuad {
  uint32_t word[4];
};

// One value per use of random numbers in the library.
enum class RandomStream : uint32_t {
  kAliasSample = 0,  // sampling/: alias_sample
  kNoise = 1,        // sampling/: noise words that avoid given positives
  kSubsample = 2,    // word2vec/: is the token at this position kept
  kWindow = 3,       // word2vec/: dynamic window of the centre at this position
  kNegative = 4,     // word2vec/: noise words of the pairs of the centre at this position
  kInit = 5,         // table initialisation
  kTiles = 6,        // glove/: order of words, rows and entries (glove_tiles.h)
  kAttention = 7,    // attention/: is the probability of this query and key kept
  kAddNorm = 8,      // transformer/: is this element kept (add_layer_norm.h)
  kEmbedding = 9,    // transformer/: is this element kept (embedding_sum.h)
  kExamples = 10,    // text/: order, pairs and partners of an epoch (bert_examples.h)
  kMasking = 11,     // text/: positions and replacements of an example (bert_examples.h)
  kLineLabel = 12,   // subword/: which label of a line is trained (classify_train.h)
  kNoiseLabel = 13,  // subword/: noise labels of a line (classify_train.h)
  kMerges = 14,      // text/: is a merge left out (bpe_encode.h)
  kDropout = 15,     // transformer/: is this element kept (dropout.h)
};

// Counter word 3. Slots are below 2^24.
LEXFORGE_HOST_DEVICE constexpr uint32_t stream_slot(RandomStream stream, uint32_t slot) {
  return (static_cast<uint32_t>(stream) << 24) | slot;
}

namespace philox {
constexpr uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;
}  // namespace philox

LEXFORGE_HOST_DEVICE PhiloxQuad philox4x32(uint32_t key0, uint32_t key1, PhiloxQuad counter) {
  for (int round = 0; round < philox::kRounds; ++round) {
    const uint64_t product0 = uint64_t{philox::kMultiplier0} * counter.word[0];
    const uint64_t product1 = uint64_t{philox::kMultiplier1} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0,
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1,
                static_cast<uint32_t>(product0)}};
    key0 += philox::kWeyl0;
    key1 += philox::kWeyl1;
  }
  return counter;
}

// The quad for one (seed, epoch, position, stream, slot).
LEXFORGE_HOST_DEVICE PhiloxQuad philox_at(uint64_t seed, uint32_t epoch, uint64_t position,
                                          RandomStream stream, uint32_t slot) {
  return philox4x32(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                    {{static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), epoch,
                      stream_slot(stream, slot)}});
}

// Word `index` of the stream that lays one word per position, four positions to a quad.
LEXFORGE_HOST_DEVICE uint32_t philox_word_at(uint64_t seed, uint32_t epoch, uint64_t index,
                                             RandomStream stream) {
  const PhiloxQuad quad = philox_at(seed, epoch, index >> 2, stream, 0);
  // Selects, not an index: a GPU would put the quad into memory for that.
  const uint32_t even = index & 2 ? quad.word[2] : quad.word[0];
  const uint32_t odd = index & 2 ? quad.word[3] : quad.word[1];
  return index & 1 ? odd : even;
}

// 24 random bits as a float in [0, 1).
LEXFORGE_HOST_DEVICE float unit_float(uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
}

// A number in [0, n), from the high half of word * n.
LEXFORGE_HOST_DEVICE uint32_t bounded(uint32_t word, uint32_t n) {
  return static_cast<uint32_t>((uint64_t{word} * n) >> 32);
}

}  // namespace lexforge
