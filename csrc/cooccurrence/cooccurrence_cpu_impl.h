// CPU kernels of cooccurrence.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/cooccurrence/cooccurrence.py.
#include <cstdint>
#include <cstring>

#include "cooccurrence/cooccurrence_cpu.h"
// Below here the compiler may use the instruction set of the build.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// The 64 marks from here on, of 0 or 1 each, as the bits of a word; they become 0.
LEXFORGE_INLINE uint64_t take_marks(uint8_t* marks) {
  uint64_t word = 0;
  for (int i = 0; i < 8; ++i) {
    uint64_t eight;
    std::memcpy(&eight, marks + 8 * i, sizeof eight);
    word |= (eight * 0x0102040810204080) >> 56 << (8 * i);  // byte b to bit b, without carries
  }
  std::memset(marks, 0, 64);
  return word;
}

#if defined(LEXFORGE_ISA_AVX2)
// For each mask of four lanes, the used ones first; and the same in halves of lanes.
struct Compress {
  alignas(16) int32_t lanes[16][4] = {};
  alignas(32) int32_t halves[16][8] = {};

  constexpr Compress() {
    for (int mask = 0; mask < 16; ++mask) {
      for (int lane = 0, place = 0; lane < 4; ++lane) {
        if ((mask >> lane & 1) == 0) continue;
        lanes[mask][place] = lane;
        halves[mask][2 * place] = 2 * lane;
        halves[mask][2 * place + 1] = 2 * lane + 1;
        ++place;
      }
    }
  }
};
constexpr Compress kCompress;
#endif

}  // namespace

int64_t take_sparse(const CooccurrenceScratch& scratch, int64_t listed, int32_t* cols,
                    int64_t* counts) {
  int32_t highest = -1;
  for (int64_t i = 0; i < listed; ++i) {
    const int32_t column = scratch.touched[i];
    scratch.bits[column >> 6] |= uint64_t{1} << (column & 63);
    scratch.marks[column >> 6] = 1;
    highest = highest < column ? column : highest;
  }
  int64_t entries = 0;
  for (int64_t first = 0; first <= highest >> 6; first += 64) {
    for (uint64_t words = take_marks(scratch.marks + first); words != 0; words &= words - 1) {
      const int64_t word = first + __builtin_ctzll(words);
      uint64_t bits = scratch.bits[word];
      scratch.bits[word] = 0;
      // Most words have few bits: four are written without asking whether they are there.
      const int64_t end = entries + __builtin_popcountll(bits);
      do {
        for (int64_t i = 0; i < 4; ++i, bits &= bits - 1) {
          const uint64_t last = uint64_t{1} << 63;  // for what is not there
          cols[entries + i] = static_cast<int32_t>(word * 64 + __builtin_ctzll(bits | last));
        }
        entries += 4;
      } while (entries < end);
      entries = end;
    }
  }
  for (int64_t e = 0; e < entries; ++e) {
    counts[e] = static_cast<int64_t>(scratch.sum[cols[e]]);
    scratch.sum[cols[e]] = 0;
  }
  return entries;
}

int64_t count_dense(const uint64_t* sum, int64_t size) {
  int64_t entries = 0;
  for (int64_t i = 0; i < size; ++i) entries += sum[i] != 0;
  return entries;
}

void take_dense(uint64_t* sum, int64_t size, int64_t entries, int32_t* cols, int64_t* counts) {
  int64_t i = 0, entry = 0;
  // Whole registers are written, what is unused to be written over, while they end within the row.
#if defined(LEXFORGE_ISA_AVX512)
  const __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (; i + 8 <= size && entry + 8 <= entries; i += 8) {
    const __m512i x = _mm512_loadu_si512(sum + i);
    const __mmask8 used = _mm512_test_epi64_mask(x, x);
    const __m256i columns = _mm256_add_epi32(first, _mm256_set1_epi32(static_cast<int32_t>(i)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(cols + entry),
                        _mm256_maskz_compress_epi32(used, columns));
    _mm512_storeu_si512(counts + entry, _mm512_maskz_compress_epi64(used, x));
    _mm512_storeu_si512(sum + i, _mm512_setzero_si512());
    entry += __builtin_popcount(used);
  }
#elif defined(LEXFORGE_ISA_AVX2)
  for (; i + 4 <= size && entry + 4 <= entries; i += 4) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sum + i));
    const __m256i unused = _mm256_cmpeq_epi64(x, _mm256_setzero_si256());
    const int used = 15 & ~_mm256_movemask_pd(_mm256_castsi256_pd(unused));
    const __m128i lanes = _mm_load_si128(reinterpret_cast<const __m128i*>(kCompress.lanes[used]));
    const __m256i halves =
        _mm256_load_si256(reinterpret_cast<const __m256i*>(kCompress.halves[used]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(cols + entry),
                     _mm_add_epi32(lanes, _mm_set1_epi32(static_cast<int32_t>(i))));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(counts + entry),
                        _mm256_permutevar8x32_epi32(x, halves));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sum + i), _mm256_setzero_si256());
    entry += __builtin_popcount(static_cast<unsigned>(used));
  }
#endif
  // After the last entry there are only zeros.
  for (; i < size && entry < entries; ++i) {
    cols[entry] = static_cast<int32_t>(i);
    counts[entry] = static_cast<int64_t>(sum[i]);
    entry += sum[i] != 0;
    sum[i] = 0;
  }
}

}  // namespace lexforge::LEXFORGE_ISA
