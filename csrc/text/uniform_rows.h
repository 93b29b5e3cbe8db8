// Rows of floats that are uniform in [-2^15, 2^15) * step, in steps of it, as tables begin.
//
// Rows are drawn in parts of `part_rows`, the last one shorter, each of a generator of its own, SFC64
// (Doty-Humphrey's of PractRand, as numpy has it): from its state {a, b, c, counter} a number of 64
// bits is
//
//   t = a + b + counter++;  a = b ^ (b >> 11);  b = c + (c << 3);  c = rotate_left(c, 24) + t;  t
//
// and gives four numbers of 16 bits with their sign, lowest first, to a part's numbers in order.
#pragma once

#include <array>
#include <cstdint>

namespace lexforge::text {

struct UniformRows {
  float* values;  // [rows, stride], of which dim numbers of each row are written
  int64_t rows, dim, stride;
  const std::array<uint64_t, 4>* states;  // of parts
  int64_t part_rows;
  float step;
};

// By so many threads, on which nothing depends.
void draw_rows(const UniformRows& rows, int threads);

}  // namespace lexforge::text
