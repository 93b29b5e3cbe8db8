// The noise words of negative sampling for many positions at a time.
// A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>

#include "word2vec/word2vec_train.h"
// The instruction set applies from here on.
#include "sampling/alias_simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

constexpr int64_t noise_quads(int64_t draws) { return (draws + 1) / kDrawsPerQuad; }

// Writes the counters (position low, position high, stream and slot) of quads
// [first, first + count): the first ones of a position. Whole registers are written; what runs over
// is written again by the next position.
LEXFORGE_INLINE void place_noise(uint32_t* const* counter, int64_t first, int64_t count,
                                 uint64_t position) {
  using U = Uint32Lanes;
  for (int64_t slot = 0; slot < count; slot += PhiloxLanes::kWidth) {
    const int64_t at = first + slot;
    U::store_any(counter[0] + at, U::broadcast(static_cast<uint32_t>(position)));
    U::store_any(counter[1] + at, U::broadcast(static_cast<uint32_t>(position >> 32)));
    U::store_any(
        counter[2] + at,
        U::add(U::broadcast(stream_slot(RandomStream::kNegative, static_cast<uint32_t>(slot))),
               U::iota()));
  }
}

// The noise words of all quads, two to each, in order; some more up to a whole register.
template <typename row_t>
LEXFORGE_INLINE void draw_noise(const Word2vecTrainParams<row_t>& params, uint32_t* const* counter,
                                int64_t quads, int32_t* noise) {
  using U = Uint32Lanes;
  const uint32_t vocab_size = static_cast<uint32_t>(params.vocab_size);
  for (int64_t q = 0; q < quads; q += PhiloxLanes::kWidth) {
    const auto words = PhiloxLanes::quads(
        static_cast<uint32_t>(params.seed), static_cast<uint32_t>(params.seed >> 32),
        {{U::load_any(counter[0] + q), U::load_any(counter[1] + q), U::broadcast(params.epoch),
          U::load_any(counter[2] + q)}});
    AliasLanes::store_pairs(
        noise + 2 * q, AliasLanes::draw(params.noise, vocab_size, words.word[0], words.word[1]),
        AliasLanes::draw(params.noise, vocab_size, words.word[2], words.word[3]));
  }
}

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
