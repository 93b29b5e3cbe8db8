#define LEXFORGE_ISA avx2
#define LEXFORGE_ISA_AVX2
#include "transformer/add_layer_norm_cpu_impl.h"
