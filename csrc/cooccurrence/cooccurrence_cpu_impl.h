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

LEXFORGE_INLINE int64_t take_one_by_one(uint64_t* sum, int64_t begin, int64_t size, int64_t entry,
                                        int64_t entries, int32_t* cols, int64_t* counts) {
  // What is zero is written over; after the last entry there are only zeros.
  for (int64_t i = begin; i < size && entry < entries; ++i) {
    cols[entry] = static_cast<int32_t>(i);
    counts[entry] = static_cast<int64_t>(sum[i]);
    entry += sum[i] != 0;
    sum[i] = 0;
  }
  return entry;
}

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

#if defined(LEXFORGE_ISA_AVX512)

void take_dense(uint64_t* sum, int64_t size, int64_t entries, int32_t* cols, int64_t* counts) {
  // Whole registers are written, the unused lanes to be written over, as long as they end before
  // the row does.
  constexpr int64_t kLanes = 8;
  __m256i columns = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  int64_t i = 0, entry = 0;
  for (; i + kLanes <= size && entry + kLanes <= entries; i += kLanes) {
    const __m512i x = _mm512_loadu_si512(sum + i);
    const __mmask8 used = _mm512_test_epi64_mask(x, x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(cols + entry),
                        _mm256_maskz_compress_epi32(used, columns));
    _mm512_storeu_si512(counts + entry, _mm512_maskz_compress_epi64(used, x));
    _mm512_storeu_si512(sum + i, _mm512_setzero_si512());
    columns = _mm256_add_epi32(columns, _mm256_set1_epi32(kLanes));
    entry += __builtin_popcount(used);
  }
  take_one_by_one(sum, i, size, entry, entries, cols, counts);
}

#else

void take_dense(uint64_t* sum, int64_t size, int64_t entries, int32_t* cols, int64_t* counts) {
  take_one_by_one(sum, 0, size, 0, entries, cols, counts);
}

#endif

}  // namespace lexforge::LEXFORGE_ISA
