#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "sampling/sampling_cpu_impl.h"
