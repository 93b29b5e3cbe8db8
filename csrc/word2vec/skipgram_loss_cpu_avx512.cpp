#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "word2vec/skipgram_loss_cpu_impl.h"
