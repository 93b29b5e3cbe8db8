// Code points as UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lexforge::text {

// Reads the UTF-8 sequence at the start of `bytes` (not empty). True and its code point when it is
// well formed; otherwise `length` is that of the ill-formed part to be replaced as one.
inline bool read_code_point(std::string_view bytes, uint32_t& code_point, size_t& length) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = byte(0);
  length = 1;
  code_point = lead;
  if (lead < 0x80) return true;
  if (lead < 0xC2 || lead > 0xF4) return false;
  const size_t wanted = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  code_point = lead & (0xFF >> (wanted + 1));
  // Some leads narrow the second byte: no overlong forms, no surrogates, nothing beyond U+10FFFF.
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (; length < wanted; ++length) {
    if (length == bytes.size() || byte(length) < low || byte(length) > high) return false;
    code_point = code_point << 6 | (byte(length) & 0x3F);
    low = 0x80, high = 0xBF;
  }
  return true;
}

inline void append_code_point(std::string& out, uint32_t code_point) {
  const auto tail = [&](int shift) {
    out += static_cast<char>(0x80 | (code_point >> shift & 0x3F));
  };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | code_point >> 6);
    tail(0);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | code_point >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | code_point >> 18);
    tail(12), tail(6), tail(0);
  }
}

}  // namespace lexforge::text
