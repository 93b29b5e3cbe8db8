#include "text/vector_file.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "text/threads.h"

namespace lexforge::text {
namespace {

static_assert(std::endian::native == std::endian::little, "vector files are read in place");

// Longer than any token in use; stops the search for a space in a file of another format.
constexpr size_t kMaxTokenBytes = 1 << 16;
// And that for the end of a row of text: a token, and D numbers of more than any digits.
constexpr size_t kMaxTextTokenBytes = 1 << 20, kMaxNumberBytes = 256;

bool is_separator(char c) { return c == ' ' || c == '\t'; }

// Reads one number at `cursor` and moves past it.
bool parse_number(const char*& cursor, const char* end, float& value) {
  const char* begin = cursor;
  if (end - begin > 1 && *begin == '+' && begin[1] != '-') ++begin;  // from_chars knows no plus
  const auto [next, status] = std::from_chars(begin, end, value);
  if (status == std::errc::invalid_argument) return false;
  if (status == std::errc::result_out_of_range) {
    // Too small becomes zero, too large infinity, as in other readers.
    value = static_cast<float>(std::strtod(std::string(begin, next).c_str(), nullptr));
  }
  cursor = next;
  return true;
}

bool is_number(std::string_view text) {
  float value;
  const char* cursor = text.data();
  return parse_number(cursor, text.data() + text.size(), value) &&
         cursor == text.data() + text.size();
}

// The last separator-delimited part of `text`; the whole of it when there is no separator.
std::string_view last_part(std::string_view text) {
  return text.substr(text.find_last_of(" \t") + 1);
}

std::string_view trim_right(std::string_view text, std::string_view characters) {
  return text.substr(0, text.find_last_not_of(characters) + 1);
}

std::string_view trim_left(std::string_view text, std::string_view characters) {
  return text.substr(std::min(text.find_first_not_of(characters), text.size()));
}

bool numbers_alone(std::string_view text) {
  for (; is_number(last_part(text)); text = trim_right(text, " \t")) {
    text.remove_suffix(last_part(text).size());
    if (text.empty()) return true;
  }
  return false;
}

// The common row: one field of token, then D numbers. False when the row is anything else.
bool parse_plain_row(std::string_view row, std::span<float> values, std::string_view& token) {
  row = trim_left(row, " \t");
  const size_t split = row.find_first_of(" \t");
  if (split == std::string_view::npos) return false;
  const char* cursor = row.data() + split;
  const char* end = row.data() + row.size();
  for (float& value : values) {
    if (cursor == end || !is_separator(*cursor)) return false;
    while (cursor != end && is_separator(*cursor)) ++cursor;
    if (!parse_number(cursor, end, value)) return false;
  }
  token = row.substr(0, split);
  return cursor == end;
}

// The beginning of a field for a message, which a NUL would end.
std::string quoted(std::string_view field) {
  std::string text = "\"";
  for (const char byte : field.substr(0, 40)) {
    if (byte == '\0') {
      text += "\\0";
    } else {
      text += byte;
    }
  }
  return text + "\"";
}

// Any row, field by field from the right. Returns what is wrong with it, or nothing.
std::string parse_row_from_right(std::string_view row, bool dim_told, std::span<float> values,
                                 std::string_view& token) {
  const int64_t dim = static_cast<int64_t>(values.size());
  std::string_view rest = row;
  for (int64_t i = dim - 1; i >= 0; --i) {
    rest = trim_right(rest, " \t");
    const std::string_view field = last_part(rest);
    if (field.size() == rest.size()) {
      return "expected " + std::to_string(dim) + " numbers after the token, got " +
             std::to_string(dim - 1 - i);
    }
    const char* cursor = field.data();
    if (!parse_number(cursor, field.data() + field.size(), values[i]) ||
        cursor != field.data() + field.size()) {
      const int64_t found = count_numbers(row);
      if (found == dim - 1 - i) {
        return "expected " + std::to_string(dim) + " numbers after the token, got " +
               std::to_string(found) + " (" + quoted(field) + " is not a number)";
      }
      return quoted(field) + " is not a number";
    }
    rest.remove_suffix(field.size());
  }
  token = trim_left(trim_right(rest, " \t"), " \t");
  // Of separators alone, all but the one before the numbers.
  if (token.empty()) token = rest.substr(0, rest.size() - 1);
  if (ends_in_number(token) && !(dim_told && numbers_alone(token))) {
    return "expected " + std::to_string(dim) + " numbers after the token, got " +
           std::to_string(count_numbers(row));
  }
  return {};
}

std::string find_nonfinite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000u;
  bool all_finite = true;
  for (const float value : values) {
    all_finite &= (std::bit_cast<uint32_t>(value) & kExponent) != kExponent;
  }
  if (all_finite) return {};
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(values[i]);
    if ((bits & kExponent) != kExponent) continue;
    const bool nan = (bits & ~(kExponent | 0x80000000u)) != 0;
    return "number " + std::to_string(i + 1) + " is " + (nan ? "NaN" : "infinite") +
           "; allow_nonfinite=True reads it all the same";
  }
  return {};
}

[[noreturn]] void fail(int64_t row, const std::string& problem) {
  throw std::invalid_argument("row " + std::to_string(row + 1) + ": " + problem);
}

}  // namespace

int64_t count_numbers(std::string_view row) {
  int64_t count = 0;
  for (row = trim_right(row, " \t\r");; ++count) {
    const std::string_view field = last_part(row);
    if (field.size() == row.size() || !is_number(field)) return count;
    row.remove_suffix(field.size());
    const std::string_view shorter = trim_right(row, " \t");
    if (shorter.empty()) return count + 1;
    row = shorter;
  }
}

bool ends_in_number(std::string_view token) {
  const std::string_view part = last_part(token);
  return part.size() < token.size() && is_number(part);
}

void format_text_row(std::string_view token, std::span<const float> values, char separator,
                     std::string& out) {
  constexpr size_t kMaxNumber = 24;  // "-1.17549435e-38" and room
  const size_t before = out.size();
  out.resize(before + token.size() + values.size() * kMaxNumber + 1);
  char* cursor = std::copy(token.begin(), token.end(), out.data() + before);
  bool first = token.data() == nullptr;  // a row without a token starts with its first number
  for (const float value : values) {
    if (!first) *cursor++ = separator;
    first = false;
    cursor = std::to_chars(cursor, cursor + kMaxNumber - 1, value).ptr;
  }
  *cursor++ = '\n';
  out.resize(cursor - out.data());
}

VectorRows::VectorRows(int64_t dim, bool dim_told, RowLayout layout, int64_t max_rows,
                       bool allow_nonfinite, int threads)
    : dim_(dim),
      dim_told_(dim_told),
      layout_(layout),
      max_rows_(max_rows),
      allow_nonfinite_(allow_nonfinite),
      threads_(std::max(threads, 1)) {
  if (dim < 1) throw std::invalid_argument("vector_size must be >= 1, got " + std::to_string(dim));
  if (max_rows < 0) {
    throw std::invalid_argument("max_rows must be >= 0, got " + std::to_string(max_rows));
  }
}

void VectorRows::reserve(int64_t rows) {
  if (rows <= capacity_) return;
  capacity_ = std::max(rows, capacity_ + capacity_ / 2);
  // realloc moves pages instead of bytes once the table is large.
  void* grown = std::realloc(values_.get(), sizeof(float) * capacity_ * dim_);
  if (grown == nullptr) throw std::bad_alloc();
  values_.release();
  values_.reset(static_cast<float*>(grown));
}

void VectorRows::add_token(std::string_view token) {
  tokens_.append(token).push_back(layout_ == RowLayout::kText ? '\n' : ' ');
}

int64_t VectorRows::feed(std::string_view block, bool last) {
  return layout_ == RowLayout::kText ? feed_text(block, last) : feed_binary(block);
}

int64_t VectorRows::feed_text(std::string_view block, bool last) {
  const size_t longest = kMaxTextTokenBytes + static_cast<size_t>(dim_) * kMaxNumberBytes;
  std::vector<std::string_view> lines;
  size_t consumed = 0;
  bool too_long = false;
  while (rows_ + static_cast<int64_t>(lines.size()) < max_rows_ && consumed < block.size()) {
    size_t end = block.find('\n', consumed);
    too_long = std::min(end, block.size()) - consumed > longest;
    if (too_long) break;
    if (end == std::string_view::npos) {
      if (!last) break;
      end = block.size();
    }
    const std::string_view line = trim_right(block.substr(consumed, end - consumed), " \t\r");
    consumed = std::min(end + 1, block.size());
    if (line.empty()) continue;
    lines.push_back(line);
    // Too short for its numbers, so an error below: no memory for rows that cannot be.
    if (line.size() < 2 * static_cast<size_t>(dim_)) break;
  }
  const int64_t count = static_cast<int64_t>(lines.size());
  reserve(rows_ + count);

  struct Part {
    int64_t bad_row = -1;
    std::string problem;
  };
  const int64_t parts_wanted = std::clamp<int64_t>(count / 64, 1, threads_);
  std::vector<Part> parts(parts_wanted);
  run_parts(parts_wanted, [&](int64_t index) {
    Part& part = parts[index];
    for (int64_t i = count * index / parts_wanted; i < count * (index + 1) / parts_wanted; ++i) {
      const std::span<float> values(values_.get() + (rows_ + i) * dim_, dim_);
      std::string_view token;
      if (!parse_plain_row(lines[i], values, token)) {
        part.problem = parse_row_from_right(lines[i], dim_told_, values, token);
      }
      if (part.problem.empty() && !allow_nonfinite_) part.problem = find_nonfinite(values);
      if (!part.problem.empty()) {
        part.bad_row = rows_ + i;
        return;
      }
      lines[i] = token;
    }
  });
  for (const Part& part : parts) {
    if (part.bad_row >= 0) fail(part.bad_row, part.problem);
  }
  if (too_long) {
    fail(rows_ + count, "no end of the line in the next " + std::to_string(longest) +
                            " bytes, which is too long for a token and " + std::to_string(dim_) +
                            " numbers; the file is damaged or of another format");
  }
  for (const std::string_view token : lines) add_token(token);
  rows_ += count;
  return static_cast<int64_t>(consumed);
}

int64_t VectorRows::feed_binary(std::string_view block) {
  const size_t vector_bytes = sizeof(float) * dim_;
  size_t consumed = 0;
  while (rows_ < max_rows_) {
    size_t begin = consumed;
    if (begin < block.size() && block[begin] == '\n') ++begin;  // ends the row before, if there
    const size_t space = block.find(' ', begin);
    if (space == std::string_view::npos || space - begin > kMaxTokenBytes) {
      if (block.size() - begin > kMaxTokenBytes) {
        fail(rows_, "no token in the next " + std::to_string(kMaxTokenBytes) +
                        " bytes; the file is damaged or not word2vec binary");
      }
      break;
    }
    if (block.size() - space - 1 < vector_bytes) break;
    reserve(rows_ + 1);
    const std::span<float> values(values_.get() + rows_ * dim_, dim_);
    std::memcpy(values.data(), block.data() + space + 1, vector_bytes);
    if (!allow_nonfinite_) {
      if (const std::string problem = find_nonfinite(values); !problem.empty()) {
        fail(rows_, problem);
      }
    }
    add_token(block.substr(begin, space - begin));
    ++rows_;
    consumed = space + 1 + vector_bytes;
  }
  return static_cast<int64_t>(consumed);
}

}  // namespace lexforge::text
