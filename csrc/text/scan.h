// What the readers do with a chunk: its words and line ends, one after the other.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/corpus.h"

namespace lexforge::text {

enum ByteClass : uint8_t { kWordByte, kSeparator, kLineEnd };
using ByteClasses = std::array<uint8_t, 256>;

constexpr ByteClasses make_text_classes() {
  ByteClasses classes{};
  for (const uint8_t byte : {0, 9, 11, 12, 13, 32}) classes[byte] = kSeparator;
  classes['\n'] = kLineEnd;
  return classes;
}

constexpr ByteClasses make_framed_classes() {
  ByteClasses classes{};
  classes[0xFF] = kSeparator;
  classes[0xFE] = kLineEnd;
  return classes;
}

inline constexpr ByteClasses kTextClasses = make_text_classes(),
                             kFramedClasses = make_framed_classes();

inline const ByteClasses& classes_of(const Chunk& chunk) {
  return chunk.framed ? kFramedClasses : kTextClasses;
}

// Calls on_word(word, offset in the chunk) and on_line() in order.
template <typename OnWord, typename OnLine>
ScanReport scan(const Chunk& chunk, Normalizer& normalize, OnWord on_word, OnLine on_line) {
  ScanReport report;
  const ByteClasses& classes = classes_of(chunk);
  const char* const begin = chunk.bytes.get();
  const char* const end = begin + chunk.size;
  const char* at = begin;
  if (!chunk.framed && chunk.document_offset == 0 &&
      std::string_view(begin, chunk.size).starts_with("\xEF\xBB\xBF")) {
    at += 3;
  }
  while (at < end) {
    const char* const start = at;
    uint8_t seen = 0;
    uint8_t byte;
    while (classes[byte = static_cast<uint8_t>(*at)] == kWordByte) {  // stops at *end
      seen |= byte;
      ++at;
    }
    if (at > start) {
      std::string_view word(start, at - start);
      if (word.size() > kMaxWordBytes) {
        report.long_word = start - begin;
        return report;
      }
      auto outcome = Normalizer::Outcome::kKeep;
      if (normalize.wants(seen < 0x80)) outcome = normalize(word);
      if (outcome == Normalizer::Outcome::kBad) {
        report.bad_byte = start - begin + normalize.bad_at();
        return report;
      }
      if (outcome == Normalizer::Outcome::kKeep) on_word(word, start - begin);
    }
    if (at < end && classes[byte] == kLineEnd) {
      ++report.lines;
      on_line();
    }
    ++at;
  }
  return report;
}

inline std::vector<Normalizer> make_normalizers(const ReaderOptions& options) {
  return std::vector<Normalizer>(options.threads, Normalizer(options));
}

}  // namespace lexforge::text
