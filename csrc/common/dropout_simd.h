// Dropout (common/dropout.h) on vector lanes. For kernel bodies; like common/simd.h, included after
// everything else.
#pragma once

#include "common/dropout.h"
#include "common/philox_simd.h"

namespace lexforge::LEXFORGE_ISA {

// The numbers whose bits are drawn at a time.
constexpr int64_t kDropoutStep = 8 * PhiloxLanes::kWidth;

// Room for the bits of `count` numbers that begin anywhere, to be read by keep_lanes.
constexpr int64_t dropout_bytes(int64_t count) {
  return (count + 7 + kDropoutStep - 1) / kDropoutStep * (kDropoutStep / 8) + 8;
}

// Bit j of `bits` says whether number first / 8 * 8 + j is kept (dropout_keeps), for all up to
// first + count and some beyond. A threshold is needed that is not 0.
LEXFORGE_INLINE void dropout_keep_bits(const Dropout& dropout, uint64_t first, int64_t count,
                                       RandomStream stream, uint8_t* bits) {
  constexpr int kQuads = PhiloxLanes::kWidth;
  const auto seed = static_cast<uint64_t>(*dropout.seed);
  const auto last = bits + (static_cast<int64_t>(first % 8) + count + 7) / 8;
  if (dropout.threshold >= 65536) {
    std::memset(bits, 0, static_cast<size_t>(last - bits));
    return;
  }
  for (uint64_t quad = first / 8; bits < last; quad += kQuads, bits += kQuads) {
    const PhiloxLanes::Quads quads = PhiloxLanes::along_positions(seed, 0, quad, stream, 0);
    // Byte i of the result has, in bits 2 w and 2 w + 1, what word w of quad i says.
#if defined(LEXFORGE_ISA_AVX512)
    const __m512i threshold = _mm512_set1_epi16(static_cast<int16_t>(dropout.threshold));
    uint64_t bytes[2] = {};
    for (int w = 0; w < 4; ++w) {
      const uint64_t kept = _mm512_cmpge_epu16_mask(quads.word[w], threshold);
      bytes[0] |= _pdep_u64(kept, uint64_t{0x0303030303030303} << 2 * w);
      bytes[1] |= _pdep_u64(kept >> 16, uint64_t{0x0303030303030303} << 2 * w);
    }
    std::memcpy(bits, bytes, sizeof bytes);
#elif defined(LEXFORGE_ISA_AVX2)
    const __m256i threshold = _mm256_set1_epi16(static_cast<int16_t>(dropout.threshold));
    uint64_t bytes = 0;
    for (int w = 0; w < 4; ++w) {
      const __m256i kept =
          _mm256_cmpeq_epi16(_mm256_max_epu16(quads.word[w], threshold), quads.word[w]);
      const auto mask = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_packs_epi16(kept, kept)));
      bytes |=
          _pdep_u64((mask & 0xFF) | (mask >> 8 & 0xFF00), uint64_t{0x0303030303030303} << 2 * w);
    }
    std::memcpy(bits, &bytes, sizeof bytes);
#else
    uint32_t word[4][kQuads];
    for (int w = 0; w < 4; ++w) Uint32Lanes::store_any(word[w], quads.word[w]);
    for (int i = 0; i < kQuads; ++i) {
      uint32_t byte = 0;
      for (int w = 0; w < 4; ++w) {
        byte |= static_cast<uint32_t>((word[w][i] & 0xFFFFu) >= dropout.threshold) << (2 * w);
        byte |= static_cast<uint32_t>((word[w][i] >> 16) >= dropout.threshold) << (2 * w + 1);
      }
      bits[i] = static_cast<uint8_t>(byte);
    }
#endif
  }
}

// x in the lanes whose bit, beginning with bit j of `bits`, is set; else 0.
template <typename L>
LEXFORGE_INLINE typename L::reg keep_lanes(typename L::reg x, const uint8_t* bits, int64_t j) {
  uint32_t word;
  std::memcpy(&word, bits + j / 8, sizeof word);
  word >>= j % 8;
#if defined(LEXFORGE_ISA_AVX512)
  if constexpr (L::kWidth == 16) return _mm512_maskz_mov_ps(static_cast<__mmask16>(word), x);
#elif defined(LEXFORGE_ISA_AVX2)
  if constexpr (L::kWidth == 8) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int32_t>(word)), lane);
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane)));
  }
#else
  if constexpr (L::kWidth == 4) {
    const auto all = static_cast<int32_t>(word);
    const typename L::ints lane{1, 2, 4, 8};
    const typename L::ints set = (typename L::ints{all, all, all, all} & lane) == lane;
    return reinterpret_cast<typename L::reg>(reinterpret_cast<typename L::ints>(x) & set);
  }
#endif
  if constexpr (L::kWidth == 1) return (word & 1) != 0 ? x : L::zero();
}

}  // namespace lexforge::LEXFORGE_ISA
