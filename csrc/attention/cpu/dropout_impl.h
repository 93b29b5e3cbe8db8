// Which probabilities dropout keeps: the bits of a row's keys, and their use on a register.
// A part of attention_cpu_impl.h.
#pragma once

#include <cstring>

#include "attention/attention_cpu.h"
// The instruction set applies from here on.
#include "attention/cpu/products_impl.h"
#include "common/philox_simd.h"

namespace lexforge::LEXFORGE_ISA {

// x where the lane's bit, the first one being bit j of `bits`, is set; else 0. j is a multiple of
// the width.
template <typename L>
LEXFORGE_INLINE typename L::reg keep(typename L::reg x, const uint8_t* bits, int64_t j) {
#if defined(LEXFORGE_ISA_AVX512)
  if constexpr (L::kWidth == 16) {
    uint16_t word;
    std::memcpy(&word, bits + j / 8, sizeof word);
    return _mm512_maskz_mov_ps(word, x);
  }
#elif defined(LEXFORGE_ISA_AVX2)
  if constexpr (L::kWidth == 8) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(bits[j / 8]), lane);
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane)));
  }
#else
  if constexpr (L::kWidth == 4) {
    const int32_t byte = bits[j / 8] >> (j % 8);
    const typename L::ints lane{1, 2, 4, 8};
    const typename L::ints set = (typename L::ints{byte, byte, byte, byte} & lane) == lane;
    return reinterpret_cast<typename L::reg>(reinterpret_cast<typename L::ints>(x) & set);
  }
#endif
  if constexpr (L::kWidth == 1) return (bits[j / 8] >> (j % 8) & 1) != 0 ? x : L::zero();
}

// Bit j of `bits` says whether entry (i, first + j) is kept, for j in [0, count) and some beyond;
// first is a multiple of kKeys, and there is room for round_up(count, kKeys) bits.
LEXFORGE_INLINE void keep_bits(const AttentionShape& shape, AttentionTask task, int64_t i,
                               int64_t first, int64_t count, uint8_t* bits) {
  const Dropout& dropout = shape.dropout;
  const uint64_t row = static_cast<uint64_t>(task.sequence * shape.heads + task.head) << 32 |
                       static_cast<uint64_t>(i);
  constexpr int kQuads = PhiloxLanes::kWidth;  // four to a group of 32 keys
  const auto seed = static_cast<uint64_t>(*dropout.seed);
  if (dropout.threshold >= 65536) {
    std::memset(bits, 0, static_cast<size_t>(round_up(count, kKeys) / 8));
    return;
  }
  for (int64_t j = 0; j < count; j += 8 * kQuads, bits += kQuads) {
    const PhiloxLanes::Quads quads = PhiloxLanes::along_slots(
        seed, 0, row, RandomStream::kAttention, static_cast<uint32_t>((first + j) / 8));
    // Byte 4 g + w of the result is what word w of the quads 4 g ... 4 g + 3 says.
#if defined(LEXFORGE_ISA_AVX512)
    const __m512i threshold = _mm512_set1_epi16(static_cast<int16_t>(dropout.threshold));
    alignas(16) uint32_t by_word[4];
    for (int w = 0; w < 4; ++w) {
      by_word[w] = _mm512_cmpge_epu16_mask(quads.word[w], threshold);
    }
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m128i words = _mm_load_si128(reinterpret_cast<const __m128i*>(by_word));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(bits), _mm_shuffle_epi8(words, order));
#elif defined(LEXFORGE_ISA_AVX2)
    const __m256i threshold = _mm256_set1_epi16(static_cast<int16_t>(dropout.threshold));
    for (int w = 0; w < 4; ++w) {
      const __m256i kept =
          _mm256_cmpeq_epi16(_mm256_max_epu16(quads.word[w], threshold), quads.word[w]);
      const int mask = _mm256_movemask_epi8(_mm256_packs_epi16(kept, kept));
      bits[w] = static_cast<uint8_t>(mask);
      bits[4 + w] = static_cast<uint8_t>(mask >> 16);
    }
#else
    for (int w = 0; w < 4; ++w) {
      uint32_t word[kQuads];
      Uint32Lanes::store_any(word, quads.word[w]);
      uint32_t byte = 0;
      for (int c = 0; c < kQuads; ++c) {
        byte |= static_cast<uint32_t>((word[c] & 0xFFFFu) >= dropout.threshold) << (2 * c);
        byte |= static_cast<uint32_t>((word[c] >> 16) >= dropout.threshold) << (2 * c + 1);
      }
      bits[w] = static_cast<uint8_t>(byte);
    }
#endif
  }
}

}  // namespace lexforge::LEXFORGE_ISA
