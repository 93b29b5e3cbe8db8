// Rows of vector files: a token and D numbers each.
//
//   text    <token> <x1> ... <xD>[ ]\n       word2vec text, GloVe, fastText .vec. The last D fields
//                                            are the numbers and what stands before them is the
//                                            token, so a token may hold spaces. Those around it,
//                                            as in aligned columns, are none of it, unless there
//                                            is nothing else.
//   binary  <token> 0x20 <D x float32>[\n]   word2vec binary, little-endian. The line break is
//                                            written by the C tool and left out by gensim.
//
// Fields are separated by spaces or tabs; a carriage return before the line break is dropped, and
// blank lines are ignored. A text token whose last part is itself a number is refused: such a row
// holds more numbers than its neighbours. But a token of numbers alone ("1 000") is one where a
// header tells D. Rows are counted from 1, without the header line; one of text is at most
// 2^20 + 256 D bytes long.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lexforge::text {

enum class RowLayout { kText, kBinary };

// Collects the rows of a file that is fed block by block. Memory grows with what was read, never
// with what a header promised.
class VectorRows {
 public:
  // dim_told: by a header, rather than by the first row. Reading stops after max_rows. NaN and
  // infinities are errors unless allow_nonfinite.
  VectorRows(int64_t dim, bool dim_told, RowLayout layout, int64_t max_rows, bool allow_nonfinite,
             int threads);

  // Takes the complete rows at the start of `block` and returns the number of bytes they fill; the
  // caller brings the rest again, in front of more. `last` says that nothing follows, so a final
  // text row needs no line break. Throws std::invalid_argument ("row 3: expected ...").
  int64_t feed(std::string_view block, bool last);

  int64_t rows() const { return rows_; }
  int64_t dim() const { return dim_; }
  bool full() const { return rows_ == max_rows_; }
  float* values() { return values_.get(); }  // [rows, dim]; valid until the next feed
  // All tokens, each followed by the byte that none of them holds: \n in text, a space in binary.
  const std::string& tokens() const { return tokens_; }
  void drop_tokens() { tokens_ = std::string(); }  // frees their memory once they were taken over

 private:
  struct Free {
    void operator()(float* pointer) const { std::free(pointer); }
  };

  int64_t feed_text(std::string_view block, bool last);
  int64_t feed_binary(std::string_view block);
  void reserve(int64_t rows);
  void add_token(std::string_view token);

  int64_t dim_;
  bool dim_told_;
  RowLayout layout_;
  int64_t max_rows_;
  bool allow_nonfinite_;
  int threads_;
  int64_t rows_ = 0;
  int64_t capacity_ = 0;
  std::unique_ptr<float, Free> values_;
  std::string tokens_;
};

// The number of numbers at the right end of a text row that leave a token in front of them: the D
// of a file without a header.
int64_t count_numbers(std::string_view row);

// Whether the text ends in a space-separated part that is a number, after some other part; such a
// token cannot be written in front of numbers and be found again.
bool ends_in_number(std::string_view token);

// Appends one row with the shortest decimals that read back as the same floats.
void format_text_row(std::string_view token, std::span<const float> values, char separator,
                     std::string& out);

}  // namespace lexforge::text
