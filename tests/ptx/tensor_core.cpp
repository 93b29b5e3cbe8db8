// ldmatrix and mma.
//
// Both know matrices of 8 x 8 elements of 16 bits that a warp holds in one register: lane l has the
// elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4, the first in the lower half. So the register's
// 64 halves in their order are the matrix in row-major order (little-endian).
#include <algorithm>
#include <cmath>

#include "lanes.h"

namespace ptx {
namespace {

// Lane 8 m + r brings the address of row r of matrix m.
template <int kMatrices, bool kTransposed>
void load_matrices(Warp& w, const Instruction& i, uint32_t lanes) {
  Block& block = *w.block;
  uint16_t matrices[kMatrices][8][8];
  for (int l = 0; l < 8 * kMatrices; ++l) {
    const uint64_t at = raw(w, i.source_class, i.a, l) + static_cast<uint64_t>(i.immediate);
    if (at % 16 != 0) {
      fail(w, i, l, "row address " + std::to_string(at) + " is no multiple of 16");
    }
    if (at + 16 > block.shared.size()) {
      fail(w, i, l,
           "shared address " + std::to_string(at) + " + 16 is beyond the " +
               std::to_string(block.shared.size()) + " bytes there are");
    }
    if (block.launch->settings.races) {
      block.races.access(w, i, l, static_cast<uint32_t>(at), 16, false, false);
    }
    std::memcpy(matrices[l / 8][l % 8], block.shared.data() + at, 16);
  }
  for (int m = 0; m < kMatrices; ++m) {
    if (kTransposed) {
      for (int row = 0; row < 8; ++row) {
        for (int column = 0; column < row; ++column) {
          std::swap(matrices[m][row][column], matrices[m][column][row]);
        }
      }
    }
    uint32_t words[kLanes];
    std::memcpy(words, matrices[m], sizeof words);
    const auto d = target<uint32_t>(w, i.list[m]);
    each(lanes, [&words, d](int l) { d.set(l, words[l]); });
  }
}

// The 8 x 8 bfloat16 of a register as floats.
void unpack_matrix(const Warp& w, uint32_t at, float (&matrix)[8][8]) {
  const auto words = source<uint32_t>(w, at);
  for (int l = 0; l < kLanes; ++l) {
    matrix[l / 4][2 * (l % 4)] = bit_cast<float>(words[l] << 16);
    matrix[l / 4][2 * (l % 4) + 1] = bit_cast<float>(words[l] & 0xFFFF0000u);
  }
}

// c + a . b as tensor cores were found to add (Fasi, Higham, Mikaitis and Pranesh 2021): products
// are exact; the terms of one step are aligned to the largest exponent among them and cut to 24
// bits, then added exactly, and the sum is cut again. Eight products a step. Later generations take
// more products a step and were found to keep extra bits, so that this errs more than they do.
float truncated_sum(float c, const float* a, const float* b, int count) {
  constexpr int kStep = 8, kBits = 24;
  float plain = c;
  for (int k = 0; k < count; ++k) plain += a[k] * b[k];
  if (!std::isfinite(plain)) return plain;
  for (int begin = 0; begin < count; begin += kStep) {
    double terms[kStep + 1];
    int top = INT32_MIN;
    const auto add = [&](int k, double term, int exponent) {
      terms[k] = term;
      if (term != 0) top = std::max(top, exponent);
    };
    for (int k = 0; k < kStep; ++k) {
      const double x = a[begin + k], y = b[begin + k];
      add(k, x * y, x * y != 0 ? std::ilogb(x) + std::ilogb(y) : 0);
    }
    add(kStep, c, c != 0 ? std::ilogb(c) : 0);
    if (top == INT32_MIN) continue;
    double sum = 0;  // of integers below 2^(kBits + 5): exact
    for (const double term : terms) sum += std::trunc(std::ldexp(term, kBits - 1 - top));
    sum = std::ldexp(sum, top - kBits + 1);
    c = static_cast<float>(sum);
    if (std::fabs(static_cast<double>(c)) > std::fabs(sum)) c = std::nextafter(c, 0.0f);
  }
  return c;
}

// D = A B + C of 16 x 8 x 16 with the fragments of "Matrix Fragments for mma.m16n8k16 with floating
// point type": the four registers of A are its quarters, upper left, lower left, upper right, lower
// right; B's two are the halves of B^T, left and right; the floats of C and D lie two by two like
// the halves of such registers, for the rows 0 to 7 and 8 to 15. The list: d, a, b, c.
void multiply_bf16(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t *d = i.list, *a = i.list + 4, *b = i.list + 8, *c = i.list + 10;
  float left[16][16], right[16][8], right_transposed[8][16];  // A, B, B^T
  float quarter[8][8];
  for (int q = 0; q < 4; ++q) {
    unpack_matrix(w, a[q], quarter);
    for (int row = 0; row < 8; ++row) {
      std::memcpy(&left[row + 8 * (q % 2)][8 * (q / 2)], quarter[row], sizeof quarter[row]);
    }
  }
  for (int half = 0; half < 2; ++half) {
    unpack_matrix(w, b[half], quarter);
    for (int column = 0; column < 8; ++column) {
      for (int k = 0; k < 8; ++k) {
        right[k + 8 * half][column] = right_transposed[column][k + 8 * half] = quarter[column][k];
      }
    }
  }
  float before[16][8], sums[16][8] = {};
  for (int e = 0; e < 4; ++e) {
    const auto values = source<float>(w, c[e]);
    for (int l = 0; l < kLanes; ++l) before[l / 4 + 8 * (e / 2)][2 * (l % 4) + e % 2] = values[l];
  }
  if (w.block->launch->settings.jitter) {
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        sums[row][column] =
            truncated_sum(before[row][column], left[row], right_transposed[column], 16);
      }
    }
  } else {
    for (int row = 0; row < 16; ++row) {
      for (int k = 0; k < 16; ++k) {
        for (int column = 0; column < 8; ++column) {
          sums[row][column] += left[row][k] * right[k][column];
        }
      }
      for (int column = 0; column < 8; ++column) sums[row][column] += before[row][column];
    }
  }
  for (int e = 0; e < 4; ++e) {
    const auto values = target<float>(w, d[e]);
    each(lanes, [&sums, values, e](int l) {
      values.set(l, sums[l / 4 + 8 * (e / 2)][2 * (l % 4) + e % 2]);
    });
  }
}

}  // namespace

void add_tensor_core(Actions& t) {
  t["ldmatrix.x1"] = load_matrices<1, false>;
  t["ldmatrix.x2"] = load_matrices<2, false>;
  t["ldmatrix.x4"] = load_matrices<4, false>;
  t["ldmatrix.x1.trans"] = load_matrices<1, true>;
  t["ldmatrix.x2.trans"] = load_matrices<2, true>;
  t["ldmatrix.x4.trans"] = load_matrices<4, true>;
  t["mma.m16n8k16.row.col.f32.bf16.bf16.f32"] = multiply_bf16;
}

}  // namespace ptx
