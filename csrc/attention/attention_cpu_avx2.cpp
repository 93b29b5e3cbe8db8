#define LEXFORGE_ISA avx2
#define LEXFORGE_ISA_AVX2
#include "attention/attention_cpu_impl.h"
