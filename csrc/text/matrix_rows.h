// Rows of a matrix of floats, or of codes, which may be mapped from a file.
#pragma once

#include <cstdint>
#include <span>

namespace lexforge::text {

// A number of a file that is mapped, at any byte.
using AnyFloat = float __attribute__((aligned(1), may_alias));

// A matrix [rows, dim]: of floats, rows `stride` apart, or of codes (product quantisation).
struct MatrixRows {
  int64_t rows, dim, stride;
  const AnyFloat* values;  // null where there are codes
  // codes [rows, ceil(dim / sub_dim)]; the 256 centroids of part s begin at 256 * sub_dim * s. A
  // row is `norm_centroids[norm_codes[row]]` times its centroids, where there are any.
  int64_t sub_dim;
  const uint8_t* codes;
  const AnyFloat* centroids;
  const uint8_t* norm_codes;
  const AnyFloat* norm_centroids;

  void prefetch(int64_t row) const;
  void add_to(int64_t row, float* sum) const;
  // Adds rows, of which -1 is one of zeros.
  void add_to(std::span<const int32_t> numbers, float* sum) const;
  // Of `count` rows, zeros without any; a row -1 is one of zeros.
  void mean(const int32_t* numbers, int64_t count, float* mean) const;
  float dot(int64_t row, const float* vector) const;
};

}  // namespace lexforge::text
