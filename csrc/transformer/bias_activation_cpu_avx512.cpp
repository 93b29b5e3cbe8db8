#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "transformer/bias_activation_cpu_impl.h"
