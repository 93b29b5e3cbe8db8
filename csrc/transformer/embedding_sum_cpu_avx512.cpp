#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "transformer/embedding_sum_cpu_impl.h"
