// alias_draw (alias.h) on vector lanes, for kernel bodies; included after everything else.
//
// AliasLanes::draw(table, size, word0, word1): lane i is alias_draw(table, size, word0[i],
// word1[i]). AliasLanes::store_pairs(out, a, b): out[2 i] = a[i], out[2 i + 1] = b[i].
#pragma once

#include "sampling/alias.h"
// Below here the compiler may use the instruction set of the build.
#include "common/philox_simd.h"

namespace lexforge::LEXFORGE_ISA {

#if defined(LEXFORGE_ISA_AVX512)

struct AliasLanes {
  using L = Uint32Lanes;
  using reg = L::reg;
  static LEXFORGE_INLINE reg draw(const AliasEntry* table, uint32_t size, reg word0, reg word1) {
    constexpr __mmask16 kOdd = 0xAAAA;
    const reg n = L::broadcast(size);
    // 64-bit products, index in the upper half, and 64-bit entries, threshold in the lower half.
    const reg even = L::mul(L::even(word0), n), odd = L::mul(L::odd(word0), n);
    const reg even_entry = _mm512_i64gather_epi64(L::high(even), table, 8);
    const reg odd_entry = _mm512_i64gather_epi64(L::high(odd), table, 8);
    const reg index = _mm512_mask_mov_epi32(L::high(even), kOdd, odd);
    const reg threshold = L::merge(even_entry, odd_entry);
    const reg alias = _mm512_mask_mov_epi32(L::high(even_entry), kOdd, odd_entry);
    return _mm512_mask_mov_epi32(alias, _mm512_cmplt_epu32_mask(word1, threshold), index);
  }
  static LEXFORGE_INLINE void store_pairs(int32_t* out, reg a, reg b) {
    const reg low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const reg high = _mm512_add_epi32(low, L::broadcast(8));
    _mm512_storeu_si512(out, _mm512_permutex2var_epi32(a, low, b));
    _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi32(a, high, b));
  }
};

#elif defined(LEXFORGE_ISA_AVX2)

struct AliasLanes {
  using L = Uint32Lanes;
  using reg = L::reg;
  static LEXFORGE_INLINE reg draw(const AliasEntry* table, uint32_t size, reg word0, reg word1) {
    const long long* entries = reinterpret_cast<const long long*>(table);
    const reg n = L::broadcast(size);
    const reg even = L::mul(L::even(word0), n), odd = L::mul(L::odd(word0), n);
    const reg even_entry = _mm256_i64gather_epi64(entries, L::high(even), 8);
    const reg odd_entry = _mm256_i64gather_epi64(entries, L::high(odd), 8);
    const reg index = _mm256_blend_epi32(L::high(even), odd, 0xAA);
    const reg threshold = L::merge(even_entry, odd_entry);
    const reg alias = _mm256_blend_epi32(L::high(even_entry), odd_entry, 0xAA);
    const reg not_below = _mm256_cmpeq_epi32(_mm256_max_epu32(word1, threshold), word1);
    return _mm256_blendv_epi8(index, alias, not_below);
  }
  static LEXFORGE_INLINE void store_pairs(int32_t* out, reg a, reg b) {
    const reg low = _mm256_unpacklo_epi32(a, b), high = _mm256_unpackhi_epi32(a, b);
    __m256i* target = reinterpret_cast<__m256i*>(out);
    _mm256_storeu_si256(target, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(target + 1, _mm256_permute2x128_si256(low, high, 0x31));
  }
};

#else

struct AliasLanes {
  using L = Uint32Lanes;
  using reg = L::reg;
  static LEXFORGE_INLINE reg draw(const AliasEntry* table, uint32_t size, reg word0, reg word1) {
    reg drawn;
    for (int i = 0; i < L::kWidth; ++i) {
      drawn[i] = static_cast<uint32_t>(alias_draw(table, size, word0[i], word1[i]));
    }
    return drawn;
  }
  static LEXFORGE_INLINE void store_pairs(int32_t* out, reg a, reg b) {
    for (int i = 0; i < L::kWidth; ++i) {
      out[2 * i] = static_cast<int32_t>(a[i]);
      out[2 * i + 1] = static_cast<int32_t>(b[i]);
    }
  }
};

#endif

}  // namespace lexforge::LEXFORGE_ISA
