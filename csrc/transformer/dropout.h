// Dropout of any tensor: the contract of lexforge::dropout.
//
//   out[i] = scale x[i] where element i of the flat tensor is kept, else 0
//
// What is kept is a function of the seed and of i (common/dropout.h, RandomStream::kDropout), and
// scale, a float32, is as there. What is dropped is 0 whatever it was. The gradient of x is the same
// op on that of out: nothing is saved but the seed. bfloat16 is multiplied in float32.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"
#include "common/dropout.h"

namespace lexforge {

// scalar_t is float, double or Bfloat16.
template <typename scalar_t>
struct DropoutParams {
  const scalar_t* x;
  scalar_t* out;
  int64_t count;
  Dropout dropout;  // threshold > 0
};

// CPU: blocks of so many numbers, from `first` to before `last`.
constexpr int64_t kDropoutBlock = 4096;
#define LEXFORGE_DECLARE_DROPOUT(isa)                                              \
  namespace isa {                                                                  \
  template <typename scalar_t>                                                     \
  void dropout(const DropoutParams<scalar_t>&, int64_t first_block, int64_t last); \
  }
LEXFORGE_DECLARE_DROPOUT(baseline)
LEXFORGE_DECLARE_DROPOUT(avx2)
LEXFORGE_DECLARE_DROPOUT(avx512)
#undef LEXFORGE_DECLARE_DROPOUT

// CUDA.
template <typename scalar_t>
void launch_dropout(const DropoutParams<scalar_t>& params, void* stream);

}  // namespace lexforge
