#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "attention/attention_cpu_impl.h"
