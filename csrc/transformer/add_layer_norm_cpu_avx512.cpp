#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "transformer/add_layer_norm_cpu_impl.h"
