#define LEXFORGE_ISA avx2
#define LEXFORGE_ISA_AVX2
#include "transformer/weight_gradient_cpu_impl.h"
