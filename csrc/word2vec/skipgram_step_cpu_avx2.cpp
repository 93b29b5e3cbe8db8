#define LEXFORGE_ISA avx2
#define LEXFORGE_ISA_AVX2
#include "word2vec/skipgram_step_cpu_impl.h"
