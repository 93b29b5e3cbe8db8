#define LEXFORGE_ISA avx2
#define LEXFORGE_ISA_AVX2
#include "glove/glove_loss_cpu_impl.h"
