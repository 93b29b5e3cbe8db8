// A linear layer for few rows: the contract of lexforge::few_rows_linear. CPU only, and inference
// only.
//
//   y[m, n] = bias[n] + sum over k of x[m, k] weight[n, k]      no bias: 0
//
// Where there are as few rows as sequences that are generated together, the time is that of reading
// the weights. They are read once, as they lie, each by one thread in one stream, for all rows.
//
// float32 and float64 are summed in their own precision, bfloat16 in float32 and rounded once; where
// the processor multiplies bfloat16, numbers below 2^-126 count as 0. The order of a sum depends on K
// alone: y[m, n] has the same bits for any M and any number of threads.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"

namespace lexforge {

template <typename scalar_t>
struct FewRowsLinearParams {
  const scalar_t* x;              // [M, K]
  const scalar_t* weight;         // [N, K]
  const scalar_t* bias;           // [N], or null
  scalar_t* y;                    // [M, N]
  int64_t rows, outputs, inputs;  // M, N, K
  bool tiles;                     // by the processor's tiles (AMX); M up to 32, avx512::bf16 alone
};

// Outputs are dealt to threads in so many at a time, and in so many by tiles.
constexpr int64_t kFewRowsOutputs = 8, kFewRowsTiles = 32;

// Bytes of memory that a thread works in: a copy of x, and sums.
constexpr int64_t few_rows_linear_memory(int64_t rows, int64_t inputs, int64_t bytes_of_one) {
  return rows * (inputs + 32) * bytes_of_one + rows * kFewRowsOutputs * 64 + 256;
}

// Outputs [first, last) of every row; `first` is a multiple of kFewRowsOutputs, or kFewRowsTiles.
#define LEXFORGE_DECLARE_FEW_ROWS_LINEAR(isa)                                             \
  namespace isa {                                                                         \
  template <typename scalar_t>                                                            \
  void few_rows_linear(const FewRowsLinearParams<scalar_t>&, int64_t first, int64_t last, \
                       void* memory);                                                     \
  }
LEXFORGE_DECLARE_FEW_ROWS_LINEAR(baseline)
LEXFORGE_DECLARE_FEW_ROWS_LINEAR(avx2)
LEXFORGE_DECLARE_FEW_ROWS_LINEAR(avx512)
// Products of bfloat16 pairs (AVX512_BF16); exists for Bfloat16 alone.
LEXFORGE_DECLARE_FEW_ROWS_LINEAR(avx512::bf16)
#undef LEXFORGE_DECLARE_FEW_ROWS_LINEAR

}  // namespace lexforge
