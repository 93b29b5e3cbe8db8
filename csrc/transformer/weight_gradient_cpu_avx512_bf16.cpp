#define LEXFORGE_ISA avx512::bf16
#define LEXFORGE_ISA_AVX512
#define LEXFORGE_ISA_AVX512_BF16
#include "transformer/weight_gradient_cpu_impl.h"
