#define LEXFORGE_ISA avx2
#define LEXFORGE_ISA_AVX2
#include "transformer/embedding_sum_cpu_impl.h"
