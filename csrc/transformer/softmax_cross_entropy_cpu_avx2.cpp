#define LEXFORGE_ISA avx2
#define LEXFORGE_ISA_AVX2
#include "transformer/softmax_cross_entropy_cpu_impl.h"
