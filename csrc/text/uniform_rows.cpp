#include "text/uniform_rows.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <vector>

#include "text/threads.h"

namespace lexforge::text {
namespace {

constexpr int64_t kRows = 64;  // at a time, whose numbers stay in the first-level cache

void draw_part(const UniformRows& rows, int64_t part, std::vector<int16_t>& numbers) {
  auto [a, b, c, counter] = rows.states[part];
  const int64_t end = std::min((part + 1) * rows.part_rows, rows.rows);
  for (int64_t row = part * rows.part_rows; row < end; row += kRows) {
    const int64_t last = std::min(row + kRows, end), count = (last - row) * rows.dim;
    for (int64_t i = 0; i < count; i += 4) {
      const uint64_t drawn = a + b + counter++;
      a = b ^ (b >> 11);
      b = c + (c << 3);
      c = std::rotl(c, 24) + drawn;
      std::memcpy(&numbers[i], &drawn, sizeof(drawn));
    }
    const int16_t* number = numbers.data();
    for (int64_t r = row; r < last; ++r, number += rows.dim) {
      float* to = rows.values + r * rows.stride;
      for (int64_t d = 0; d < rows.dim; ++d) to[d] = static_cast<float>(number[d]) * rows.step;
    }
  }
}

}  // namespace

void draw_rows(const UniformRows& rows, int threads) {
  const int64_t parts = (rows.rows + rows.part_rows - 1) / rows.part_rows;
  std::atomic<int64_t> next{0};
  run_parts(std::clamp<int64_t>(parts, 1, std::max(threads, 1)), [&](int64_t) {
    std::vector<int16_t> numbers(kRows * rows.dim);
    for (int64_t part; (part = next++) < parts;) draw_part(rows, part, numbers);
  });
}

}  // namespace lexforge::text
