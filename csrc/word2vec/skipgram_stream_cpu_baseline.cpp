#define LEXFORGE_ISA baseline
#define LEXFORGE_ISA_BASELINE
#include "word2vec/skipgram_stream_cpu_impl.h"
