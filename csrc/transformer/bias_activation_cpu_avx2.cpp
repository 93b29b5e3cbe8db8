#define LEXFORGE_ISA avx2
#define LEXFORGE_ISA_AVX2
#include "transformer/bias_activation_cpu_impl.h"
