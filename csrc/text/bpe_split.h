// How a text falls apart before byte pair encoding: what the pattern of GPT-2 finds, one match after
// the other,
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// by hand. 64 bytes at a time become masks of letters, numbers, white space and others, all bytes of
// a character alike, and parts begin where these change: always where white space begins or the
// last character of it before something else; not behind a space, which belongs to what follows;
// and about the seven endings with an apostrophe. Bytes that are no UTF-8 are others.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/unicode_classes.h"
#include "text/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace lexforge::text {

// The class of each code point, spread out once.
inline const uint8_t* character_classes() {
  static const std::vector<uint8_t> classes = [] {
    std::vector<uint8_t> spread(0x110000);
    for (size_t i = 0; i < std::size(kClassRuns); ++i) {
      const uint32_t end = i + 1 < std::size(kClassRuns) ? kClassRuns[i + 1] >> 2 : 0x110000;
      std::memset(&spread[kClassRuns[i] >> 2], kClassRuns[i] & 3, end - (kClassRuns[i] >> 2));
    }
    return spread;
  }();
  return classes.data();
}

// One bit for each of 64 bytes, the first the lowest.
struct ByteMasks {
  uint64_t letters = 0, numbers = 0, spaces = 0, blanks = 0, apostrophes = 0, high = 0;
};

inline ByteMasks mask_bytes(const char* bytes) {
  ByteMasks masks;
#ifdef __SSE2__
  const auto fill = [](int value) { return _mm_set1_epi8(static_cast<char>(value)); };
  const auto below = [&](__m128i x, int first, int count) {  // first <= x < first + count
    const __m128i shifted = _mm_sub_epi8(x, fill(first));
    return _mm_cmpeq_epi8(_mm_min_epu8(shifted, fill(count - 1)), shifted);
  };
  for (int part = 0; part < 64; part += 16) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + part));
    const auto bits = [&](__m128i found) {
      return static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(found))) << part;
    };
    const __m128i blank = _mm_cmpeq_epi8(x, fill(' '));
    masks.letters |= bits(below(_mm_or_si128(x, fill(0x20)), 'a', 26));
    masks.numbers |= bits(below(x, '0', 10));
    masks.spaces |= bits(_mm_or_si128(blank, below(x, '\t', 5)));
    masks.blanks |= bits(blank);
    masks.apostrophes |= bits(_mm_cmpeq_epi8(x, fill('\'')));
    masks.high |= bits(x);
  }
#else
  const uint8_t* classes = character_classes();
  for (int i = 0; i < 64; ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const uint64_t bit = uint64_t{1} << i;
    if (byte >= 0x80) {
      masks.high |= bit;
      continue;
    }
    if (classes[byte] == kLetter) masks.letters |= bit;
    if (classes[byte] == kNumber) masks.numbers |= bit;
    if (classes[byte] == kSpace) masks.spaces |= bit;
    if (byte == ' ') masks.blanks |= bit;
    if (byte == '\'') masks.apostrophes |= bit;
  }
#endif
  return masks;
}

// Of one of the seven endings at the start of what is left, which begins with an apostrophe; 0
// where there is none.
inline size_t contraction_length(std::string_view rest) {
  if (rest.size() < 2) return 0;
  const char first = rest[1], second = rest.size() > 2 ? rest[2] : '\0';
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  return first == 'l' && second == 'l' ? 3 : 0;
}

// Calls on_part(begin, size) for the parts of a text, which are the whole of it, in order.
template <typename OnPart>
void split_gpt2(std::string_view text, const OnPart& on_part) {
  const uint8_t* classes = character_classes();
  ByteMasks before{};                      // the lowest bits: of the last byte before the block
  uint64_t before_others = 0;              //
  uint64_t no_start = 0, extra_start = 0;  // of the next block
  size_t part = 0;                         // where the open part begins
  for (size_t base = 0, size; base < text.size(); base += size) {
    size = std::min<size_t>(64, text.size() - base);
    const char* bytes = text.data() + base;
    char padded[64];
    if (size < 64) {
      std::memset(padded, 0, sizeof(padded));
      std::memcpy(padded, bytes, size);
      bytes = padded;
    }
    ByteMasks masks = mask_bytes(bytes);
    uint64_t inner = 0;  // bytes of white space but the first of a character
    for (uint64_t left = masks.high; left != 0;) {
      const int at = std::countr_zero(left);
      uint32_t code_point;
      size_t length;
      if (!read_code_point(text.substr(base + at, 4), code_point, length)) length = 1;
      if (at + length > 64) {  // the next block begins with it
        size = at;
        break;
      }
      const uint64_t bits = ((uint64_t{1} << length) - 1) << at;
      left &= ~bits;
      if (length == 1) continue;
      const uint8_t kind = classes[code_point];
      if (kind == kLetter) masks.letters |= bits;
      if (kind == kNumber) masks.numbers |= bits;
      if (kind == kSpace) masks.spaces |= bits, inner |= bits & (bits << 1);
    }
    const uint64_t valid = size == 64 ? ~uint64_t{0} : (uint64_t{1} << size) - 1;
    const uint64_t letters = masks.letters & valid, numbers = masks.numbers & valid;
    const uint64_t spaces = masks.spaces & valid, blanks = masks.blanks & valid;
    const uint64_t others = valid & ~(letters | numbers | spaces);

    uint64_t space_follows = 1;  // as at the end of the text, where white space is one part
    if (base + size < text.size()) {
      uint32_t code_point;
      size_t length;
      const bool known = read_code_point(text.substr(base + size, 4), code_point, length);
      space_follows = known && classes[code_point] == kSpace;
    }
    uint64_t last = spaces & ~(spaces >> 1 | space_follows << (size - 1));
    while (const uint64_t shift = last & inner) last = (last & ~shift) | shift >> 1;

    uint64_t starts = (letters & ~(letters << 1 | before.letters)) |
                      (numbers & ~(numbers << 1 | before.numbers)) |
                      (others & ~(others << 1 | before_others));
    starts &= ~(blanks << 1 | before.blanks);
    starts |= (spaces & ~(spaces << 1 | before.spaces)) | last;
    starts = (starts & ~no_start) | (extra_start & valid);
    no_start = extra_start = 0;
    for (uint64_t left = starts & masks.apostrophes; left != 0; left &= left - 1) {
      const size_t at = std::countr_zero(left);
      const size_t length = contraction_length(text.substr(base + at, 3));
      if (length == 0) continue;
      const auto bit = [&](size_t place, auto here, auto there) {
        place < size ? here(uint64_t{1} << place) : there(uint64_t{1} << (place - size));
      };
      bit(at + 1, [&](uint64_t b) { starts &= ~b; }, [&](uint64_t b) { no_start |= b; });
      if (base + at + length < text.size()) {
        bit(at + length, [&](uint64_t b) { starts |= b; }, [&](uint64_t b) { extra_start |= b; });
      }
    }
    for (; starts != 0; starts &= starts - 1) {
      const size_t start = base + std::countr_zero(starts);
      if (start > part) on_part(text.data() + part, start - part);
      part = start;
    }
    const auto highest = [&](uint64_t mask) { return mask >> (size - 1) & 1; };
    before.letters = highest(letters);
    before.numbers = highest(numbers);
    before.spaces = highest(spaces);
    before.blanks = highest(blanks);
    before_others = highest(others);
  }
  if (part < text.size()) on_part(text.data() + part, text.size() - part);
}

// A place at most at `most` where a text may be cut in two whose parts are those of the whole; 0
// where none is found. Something visible is before it, and a space or the end of a line behind it.
inline size_t find_cut(std::string_view text, size_t most) {
  for (size_t at = std::min(most, text.size() - 1); at > 0; --at) {
    const char before = text[at - 1];
    if ((text[at] == ' ' || text[at] == '\n') && before > ' ' && before < 0x7F) return at;
  }
  return 0;
}

}  // namespace lexforge::text
