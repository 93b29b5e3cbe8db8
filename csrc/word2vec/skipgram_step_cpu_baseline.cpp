#define LEXFORGE_ISA baseline
#include "word2vec/skipgram_step_cpu_impl.h"
