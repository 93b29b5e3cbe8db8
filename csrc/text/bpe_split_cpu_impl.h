// Where parts begin (bpe_split.h): one body, compiled per instruction set.
#include <algorithm>
#include <bit>
#include <cstring>

#include "text/bpe_split.h"
#include "text/unicode_classes.h"
#include "text/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif
// The instruction set applies from here on.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

using text::kLetter;
using text::kNumber;
using text::kSpace;

constexpr size_t kBlock = 64;

// One bit for each byte of a block, the first the lowest.
struct ByteMasks {
  uint64_t letters = 0, numbers = 0, spaces = 0, blanks = 0, apostrophes = 0, high = 0;
};

#if defined(LEXFORGE_ISA_AVX512)
struct Bytes {
  using reg = __m512i;
  static constexpr int kSize = 64;
  static LEXFORGE_INLINE reg load(const char* at) { return _mm512_loadu_si512(at); }
  static LEXFORGE_INLINE reg fill(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static LEXFORGE_INLINE uint64_t equal(reg x, int to) {
    return _mm512_cmpeq_epi8_mask(x, fill(to));
  }
  static LEXFORGE_INLINE uint64_t within(reg x, int first,
                                         int count) {  // first <= x < first + count
    return _mm512_cmplt_epu8_mask(_mm512_sub_epi8(x, fill(first)), fill(count));
  }
  static LEXFORGE_INLINE reg either(reg x, int bits) { return _mm512_or_si512(x, fill(bits)); }
  static LEXFORGE_INLINE uint64_t high(reg x) { return _mm512_movepi8_mask(x); }
};
#elif defined(LEXFORGE_ISA_AVX2)
struct Bytes {
  using reg = __m256i;
  static constexpr int kSize = 32;
  static LEXFORGE_INLINE reg load(const char* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  static LEXFORGE_INLINE reg fill(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
  static LEXFORGE_INLINE uint64_t equal(reg x, int to) {
    return high(_mm256_cmpeq_epi8(x, fill(to)));
  }
  static LEXFORGE_INLINE uint64_t within(reg x, int first, int count) {
    const reg shifted = _mm256_sub_epi8(x, fill(first));
    return high(_mm256_cmpeq_epi8(_mm256_min_epu8(shifted, fill(count - 1)), shifted));
  }
  static LEXFORGE_INLINE reg either(reg x, int bits) { return _mm256_or_si256(x, fill(bits)); }
  static LEXFORGE_INLINE uint64_t high(reg x) {
    return static_cast<uint32_t>(_mm256_movemask_epi8(x));
  }
};
#elif defined(__SSE2__)
struct Bytes {
  using reg = __m128i;
  static constexpr int kSize = 16;
  static LEXFORGE_INLINE reg load(const char* at) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  }
  static LEXFORGE_INLINE reg fill(int x) { return _mm_set1_epi8(static_cast<char>(x)); }
  static LEXFORGE_INLINE uint64_t equal(reg x, int to) { return high(_mm_cmpeq_epi8(x, fill(to))); }
  static LEXFORGE_INLINE uint64_t within(reg x, int first, int count) {
    const reg shifted = _mm_sub_epi8(x, fill(first));
    return high(_mm_cmpeq_epi8(_mm_min_epu8(shifted, fill(count - 1)), shifted));
  }
  static LEXFORGE_INLINE reg either(reg x, int bits) { return _mm_or_si128(x, fill(bits)); }
  static LEXFORGE_INLINE uint64_t high(reg x) {
    return static_cast<uint32_t>(_mm_movemask_epi8(x));
  }
};
#else
struct Bytes {
  using reg = uint8_t;
  static constexpr int kSize = 1;
  static LEXFORGE_INLINE reg load(const char* at) { return static_cast<uint8_t>(*at); }
  static LEXFORGE_INLINE uint64_t equal(reg x, int to) { return x == to; }
  static LEXFORGE_INLINE uint64_t within(reg x, int first, int count) {
    return x >= first && x < first + count;
  }
  static LEXFORGE_INLINE reg either(reg x, int bits) { return static_cast<reg>(x | bits); }
  static LEXFORGE_INLINE uint64_t high(reg x) { return x >> 7; }
};
#endif

LEXFORGE_INLINE ByteMasks mask_bytes(const char* bytes) {
  ByteMasks masks;
  for (int part = 0; part < static_cast<int>(kBlock); part += Bytes::kSize) {
    const Bytes::reg x = Bytes::load(bytes + part);
    const uint64_t blanks = Bytes::equal(x, ' ');
    masks.letters |= Bytes::within(Bytes::either(x, 0x20), 'a', 26) << part;
    masks.numbers |= Bytes::within(x, '0', 10) << part;
    masks.spaces |= (blanks | Bytes::within(x, '\t', 5)) << part;
    masks.blanks |= blanks << part;
    masks.apostrophes |= Bytes::equal(x, '\'') << part;
    masks.high |= Bytes::high(x) << part;
  }
  return masks;
}

// Of one of the seven endings at the start of what is left, which begins with an apostrophe; 0
// where there is none.
size_t contraction_length(std::string_view rest) {
  if (rest.size() < 2) return 0;
  const char first = rest[1], second = rest.size() > 2 ? rest[2] : '\0';
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  return first == 'l' && second == 'l' ? 3 : 0;
}

// Whether white space begins at a place, as it does, in a way, at the end.
LEXFORGE_INLINE bool space_at(std::string_view text, size_t at, const uint8_t* classes) {
  if (at >= text.size()) return true;
  const auto byte = static_cast<uint8_t>(text[at]);
  if (byte < 0x80) return classes[byte] == kSpace;
  uint32_t code_point;
  size_t length;
  return text::read_code_point(text.substr(at, 4), code_point, length) &&
         classes[code_point] == kSpace;
}

// Writes the places of the bits that are set, and whatever behind these; returns the end of them.
LEXFORGE_INLINE uint32_t* list_bits(uint64_t bits, uint32_t base, uint32_t* places) {
#if defined(LEXFORGE_ISA_AVX512)
  const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int part = 0; part < 4; ++part, bits >>= 16) {
    const auto some = static_cast<__mmask16>(bits);
    const __m512i here =
        _mm512_add_epi32(steps, _mm512_set1_epi32(static_cast<int>(base) + 16 * part));
    _mm512_storeu_si512(places, _mm512_maskz_compress_epi32(some, here));
    places += __builtin_popcount(some);
  }
  return places;
#else
  for (; bits != 0; bits &= bits - 1) {
    *places++ = base + static_cast<uint32_t>(__builtin_ctzll(bits));
  }
  return places;
#endif
}

}  // namespace

size_t find_parts(std::string_view text, size_t base, text::SplitEdge& edge, uint32_t* places) {
  const uint8_t* const classes = text::character_classes();
  const uint32_t* const begin = places;
  text::SplitEdge before = edge;
  const size_t end = std::min(text.size(), base + text::kSplitStep);
  for (size_t at = base; at < end; at += kBlock) {
    const size_t size = std::min(text.size() - at, kBlock);
    const char* bytes = text.data() + at;
    __builtin_prefetch(bytes + std::min(text.size() - at, text::kSplitStep));  // for the next step
    char padded[kBlock];
    if (size < kBlock) {
      std::memset(padded, 0, sizeof(padded));
      std::memcpy(padded, bytes, size);
      bytes = padded;
    }
    ByteMasks masks = mask_bytes(bytes);
    uint64_t inner = 0;       // bytes of white space but the first of a character
    size_t next = at + size;  // where the first character behind these begins
    if ((masks.high | before.inside) != 0) {
      const auto add = [&](uint64_t character, int kind, uint64_t its_inner) {
        if (kind == kLetter) masks.letters |= character;
        if (kind == kNumber) masks.numbers |= character;
        if (kind == kSpace) masks.spaces |= character, inner |= its_inner;
      };
      add(before.inside, before.kind, before.inside);
      uint64_t left = masks.high & ~before.inside;
      before.inside = 0;
      while (left != 0) {
        const int place = std::countr_zero(left);
        uint32_t code_point;
        size_t length;
        if (!text::read_code_point(text.substr(at + place, 4), code_point, length)) {
          left &= left - 1;
          continue;
        }
        const uint64_t character = ((uint64_t{1} << length) - 1) << place;
        left &= ~character;
        add(character, classes[code_point], character & (character << 1));
        if (const size_t reach = place + length; reach > kBlock) {
          before.inside = (uint64_t{1} << (reach - kBlock)) - 1;
          before.kind = classes[code_point];
          next = at + reach;
        }
      }
    }
    const uint64_t valid = ~uint64_t{0} >> (kBlock - size);
    const uint64_t letters = masks.letters, numbers = masks.numbers;
    const uint64_t spaces = masks.spaces, blanks = masks.blanks;
    const uint64_t others = valid & ~(letters | numbers | spaces);

    const uint64_t space_follows = space_at(text, next, classes);
    uint64_t last = spaces & ~(spaces >> 1 | space_follows << (size - 1));
    while (const uint64_t shift = last & inner) last = (last & ~shift) | shift >> 1;

    uint64_t starts = (letters & ~(letters << 1 | before.letters)) |
                      (numbers & ~(numbers << 1 | before.numbers)) |
                      (others & ~(others << 1 | before.others));
    starts &= ~(blanks << 1 | before.blanks);
    starts |= (spaces & ~(spaces << 1 | before.spaces)) | last;
    starts = (starts & ~before.no_start) | (before.extra_start & valid);
    before.no_start = before.extra_start = 0;
    for (uint64_t left = starts & masks.apostrophes; left != 0; left &= left - 1) {
      const size_t place = std::countr_zero(left);
      const size_t length = contraction_length(text.substr(at + place, 3));
      if (length == 0) continue;
      const auto bit = [](size_t one, uint64_t& here, uint64_t& there) {
        (one < kBlock ? here : there) |= uint64_t{1} << one % kBlock;
      };
      uint64_t none = 0;
      bit(place + 1, none, before.no_start);
      starts &= ~none;
      if (at + place + length < text.size()) bit(place + length, starts, before.extra_start);
    }
    if (at == 0) starts &= ~uint64_t{1};
    places = list_bits(starts, static_cast<uint32_t>(at - base), places);
    before.letters = letters >> (kBlock - 1);
    before.numbers = numbers >> (kBlock - 1);
    before.spaces = spaces >> (kBlock - 1);
    before.blanks = blanks >> (kBlock - 1);
    before.others = others >> (kBlock - 1);
  }
  edge = before;
  return places - begin;
}

}  // namespace lexforge::LEXFORGE_ISA
