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

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lexforge::text {

// The class of each code point, spread out once.
const uint8_t* character_classes();

constexpr size_t kSplitStep = 1 << 11;  // bytes that are looked at together

// What a step knows of those before.
struct SplitEdge {
  uint64_t letters = 0, numbers = 0, spaces = 0, blanks = 0, others = 0;  // is the last byte one?
  uint64_t inside = 0;  // bytes that belong to a character begun before, which is of this kind
  int kind = 0;
  uint64_t no_start = 0, extra_start = 0;  // for a contraction
};

// Of the kSplitStep bytes behind `base`, or what there is, how far from there parts begin, the first
// one of the text left out: ascending, in room for kSplitStep + 64. Returns how many they are.
using FindParts = size_t(std::string_view text, size_t base, SplitEdge& edge, uint32_t* places);
FindParts* find_parts();  // for this machine

// Calls on_part(begin, size) for the parts of a text, which are the whole of it, in order.
template <typename OnPart>
void split_gpt2(std::string_view text, const OnPart& on_part) {
  static FindParts* const find = find_parts();
  uint32_t places[kSplitStep + 64];
  SplitEdge edge;
  const char* part = text.data();
  for (size_t base = 0; base < text.size(); base += kSplitStep) {
    const char* const from = text.data() + base;
    const size_t count = find(text, base, edge, places);
    for (size_t i = 0; i < count; ++i) {
      const char* const start = from + places[i];
      on_part(part, static_cast<size_t>(start - part));
      part = start;
    }
  }
  if (!text.empty()) on_part(part, static_cast<size_t>(text.data() + text.size() - part));
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
