// A linear layer for few rows: the contract of lexforge::few_rows_linear. CPU only, and inference
// only.
//
//   y[m, n] = bias[n] + sum over k of x[m, k] weight[n, k]      no bias: 0
//
// Where there are as few rows as sequences that are generated together, the time is that of reading
// the weights. They are read once, as they lie, each by one thread in one stream, for all rows.
//
// float32 and float64 are summed in their own precision, bfloat16 in float32 and rounded once. The
// order of a sum depends on K alone: y[m, n] has the same bits for any M and any number of threads.
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
};

// Outputs are dealt to threads in so many at a time.
constexpr int64_t kFewRowsOutputs = 8;

// Outputs [first, last) of every row; `first` is a multiple of kFewRowsOutputs.
#define LEXFORGE_DECLARE_FEW_ROWS_LINEAR(isa)                                              \
  namespace isa {                                                                          \
  template <typename scalar_t>                                                             \
  void few_rows_linear(const FewRowsLinearParams<scalar_t>&, int64_t first, int64_t last); \
  }
LEXFORGE_DECLARE_FEW_ROWS_LINEAR(baseline)
LEXFORGE_DECLARE_FEW_ROWS_LINEAR(avx2)
LEXFORGE_DECLARE_FEW_ROWS_LINEAR(avx512)
// Products of bfloat16 pairs (AVX512_BF16); exists for Bfloat16 alone.
LEXFORGE_DECLARE_FEW_ROWS_LINEAR(avx512::bf16)
#undef LEXFORGE_DECLARE_FEW_ROWS_LINEAR

}  // namespace lexforge
