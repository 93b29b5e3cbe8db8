#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "transformer/softmax_cross_entropy_cpu_impl.h"
