#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "word2vec/skipgram_step_cpu_impl.h"
