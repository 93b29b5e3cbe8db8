#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "transformer/weight_gradient_cpu_impl.h"
