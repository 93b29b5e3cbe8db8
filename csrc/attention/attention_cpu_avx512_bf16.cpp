#define LEXFORGE_ISA avx512::bf16
#define LEXFORGE_ISA_AVX512
#define LEXFORGE_ISA_AVX512_BF16
#include "attention/attention_cpu_impl.h"
