// Philox4x32-10 on vector lanes: kWidth quads at once, bit-identical to philox4x32 (philox.h).
//
// For kernel bodies; like common/simd.h, included after everything else. A register holds the same
// counter word of kWidth quads, one per lane. The two usual shapes, and one for everything else:
//
//   PhiloxLanes::along_slots(seed, epoch, position, stream, slot)      lane i: slot + i
//   PhiloxLanes::along_positions(seed, epoch, position, stream, slot)  lane i: position + i
//   PhiloxLanes::quads(key0, key1, counter)                            any counters
//
// A call costs the same however many of its lanes are used. In a loop over one seed a word takes
// 0.7 cycles with AVX-512, 1.8 with AVX2 and 3 with SSE2 (Zen 5, benchmarks/sampling.py --philox).
#pragma once

#include "common/philox.h"
// Below here the compiler may use the instruction set of the build.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {

// kWidth lanes of uint32, and what a Philox round needs of them. `wide` is the same register seen
// as 64-bit lanes, of which the multiplication reads the low halves only.
#if defined(LEXFORGE_ISA_AVX512)

struct Uint32Lanes {
  using reg = __m512i;
  using wide = __m512i;
  static constexpr int kWidth = 16;
  static LEXFORGE_INLINE reg broadcast(uint32_t x) {
    return _mm512_set1_epi32(static_cast<int32_t>(x));
  }
  static LEXFORGE_INLINE reg iota() {
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
  static LEXFORGE_INLINE reg load_any(const uint32_t* p) { return _mm512_loadu_si512(p); }
  static LEXFORGE_INLINE void store_any(uint32_t* p, reg x) { _mm512_storeu_si512(p, x); }
  static LEXFORGE_INLINE reg add(reg a, reg b) { return _mm512_add_epi32(a, b); }
  // 1 where a < b, else 0.
  static LEXFORGE_INLINE reg less(reg a, reg b) {
    return _mm512_maskz_mov_epi32(_mm512_cmplt_epu32_mask(a, b), broadcast(1));
  }
  static LEXFORGE_INLINE wide even(reg a) { return a; }
  static LEXFORGE_INLINE wide odd(reg a) { return _mm512_srli_epi64(a, 32); }
  static LEXFORGE_INLINE wide high(wide a) { return _mm512_srli_epi64(a, 32); }
  static LEXFORGE_INLINE wide mul(wide a, wide b) { return _mm512_mul_epu32(a, b); }
  static LEXFORGE_INLINE wide xor3(wide a, wide b, wide c) {
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
  }
  static LEXFORGE_INLINE reg merge(wide even, wide odd) {
    return _mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CCAA);
  }
};

#elif defined(LEXFORGE_ISA_AVX2)

struct Uint32Lanes {
  using reg = __m256i;
  using wide = __m256i;
  static constexpr int kWidth = 8;
  static LEXFORGE_INLINE reg broadcast(uint32_t x) {
    return _mm256_set1_epi32(static_cast<int32_t>(x));
  }
  static LEXFORGE_INLINE reg iota() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
  static LEXFORGE_INLINE reg load_any(const uint32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static LEXFORGE_INLINE void store_any(uint32_t* p, reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
  }
  static LEXFORGE_INLINE reg add(reg a, reg b) { return _mm256_add_epi32(a, b); }
  static LEXFORGE_INLINE reg less(reg a, reg b) {
    const reg not_less = _mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a);
    return _mm256_add_epi32(not_less, broadcast(1));
  }
  static LEXFORGE_INLINE wide even(reg a) { return a; }
  static LEXFORGE_INLINE wide odd(reg a) { return _mm256_srli_epi64(a, 32); }
  static LEXFORGE_INLINE wide high(wide a) { return _mm256_srli_epi64(a, 32); }
  static LEXFORGE_INLINE wide mul(wide a, wide b) { return _mm256_mul_epu32(a, b); }
  static LEXFORGE_INLINE wide xor3(wide a, wide b, wide c) {
    return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
  }
  static LEXFORGE_INLINE reg merge(wide even, wide odd) {
    return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
  }
};

#else

// Four lanes in the compiler's own vector type: SSE2 on x86-64, NEON on arm64.
struct Uint32Lanes {
  typedef uint32_t reg __attribute__((vector_size(16)));
  typedef uint64_t wide __attribute__((vector_size(16)));
  static constexpr int kWidth = 4;
  static LEXFORGE_INLINE reg broadcast(uint32_t x) { return reg{x, x, x, x}; }
  static LEXFORGE_INLINE reg iota() { return reg{0, 1, 2, 3}; }
  static LEXFORGE_INLINE reg load_any(const uint32_t* p) {
    reg x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  static LEXFORGE_INLINE void store_any(uint32_t* p, reg x) { std::memcpy(p, &x, sizeof x); }
  static LEXFORGE_INLINE reg add(reg a, reg b) { return a + b; }
  static LEXFORGE_INLINE reg less(reg a, reg b) { return reinterpret_cast<reg>(a < b) & 1; }
  static LEXFORGE_INLINE wide even(reg a) { return reinterpret_cast<wide>(a); }
  static LEXFORGE_INLINE wide odd(reg a) { return reinterpret_cast<wide>(a) >> 32; }
  static LEXFORGE_INLINE wide high(wide a) { return a >> 32; }
  static LEXFORGE_INLINE wide mul(wide a, wide b) {
#ifdef __SSE2__
    // The plain product below costs three of these: the compiler does not see the cleared halves.
    typedef int32_t ints __attribute__((vector_size(16)));
    return reinterpret_cast<wide>(
        __builtin_ia32_pmuludq128(reinterpret_cast<ints>(a), reinterpret_cast<ints>(b)));
#else
    return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
  }
  static LEXFORGE_INLINE wide xor3(wide a, wide b, wide c) { return a ^ b ^ c; }
  static LEXFORGE_INLINE reg merge(wide even, wide odd) {
    return reinterpret_cast<reg>((even & 0xFFFFFFFFu) | (odd << 32));
  }
};

#endif

struct PhiloxLanes {
  using L = Uint32Lanes;
  using reg = L::reg;
  static constexpr int kWidth = L::kWidth;

  struct Quads {
    reg word[4];  // word[w] lane i: word w of quad i
  };

  static LEXFORGE_INLINE Quads quads(uint32_t key0, uint32_t key1, const Quads& counter) {
    // Even and odd lanes stay apart through all rounds: the 32 x 32 -> 64 bit multiplication takes
    // every other lane, and the upper halves it leaves behind are never read.
    const Half even = rounds(key0, key1, L::even(counter.word[0]), L::even(counter.word[1]),
                             L::even(counter.word[2]), L::even(counter.word[3]));
    const Half odd = rounds(key0, key1, L::odd(counter.word[0]), L::odd(counter.word[1]),
                            L::odd(counter.word[2]), L::odd(counter.word[3]));
    return {{L::merge(even.word[0], odd.word[0]), L::merge(even.word[1], odd.word[1]),
             L::merge(even.word[2], odd.word[2]), L::merge(even.word[3], odd.word[3])}};
  }

  // Lane i: philox_at(seed, epoch, position, stream, slot + i).
  static LEXFORGE_INLINE Quads along_slots(uint64_t seed, uint32_t epoch, uint64_t position,
                                           RandomStream stream, uint32_t slot) {
    return quads(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                 {{L::broadcast(static_cast<uint32_t>(position)),
                   L::broadcast(static_cast<uint32_t>(position >> 32)), L::broadcast(epoch),
                   L::add(L::broadcast(stream_slot(stream, slot)), L::iota())}});
  }

  // Lane i: philox_at(seed, epoch, position + i, stream, slot).
  static LEXFORGE_INLINE Quads along_positions(uint64_t seed, uint32_t epoch, uint64_t position,
                                               RandomStream stream, uint32_t slot) {
    const reg first = L::broadcast(static_cast<uint32_t>(position));
    const reg low = L::add(first, L::iota());
    const reg carry = L::less(low, first);
    return quads(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                 {{low, L::add(L::broadcast(static_cast<uint32_t>(position >> 32)), carry),
                   L::broadcast(epoch), L::broadcast(stream_slot(stream, slot))}});
  }

 private:
  struct Half {
    L::wide word[4];
  };

  static LEXFORGE_INLINE Half rounds(uint32_t key0, uint32_t key1, L::wide a, L::wide b, L::wide c,
                                     L::wide d) {
    const L::wide multiplier0 = L::even(L::broadcast(philox::kMultiplier0));
    const L::wide multiplier1 = L::even(L::broadcast(philox::kMultiplier1));
#pragma GCC unroll 10
    for (int round = 0; round < philox::kRounds; ++round) {
      const L::wide product0 = L::mul(multiplier0, a);
      const L::wide product1 = L::mul(multiplier1, c);
      a = L::xor3(L::high(product1), b, L::even(L::broadcast(key0)));
      b = product1;
      c = L::xor3(L::high(product0), d, L::even(L::broadcast(key1)));
      d = product0;
      key0 += philox::kWeyl0;
      key1 += philox::kWeyl1;
    }
    return {{a, b, c, d}};
  }
};

}  // namespace lexforge::LEXFORGE_ISA
