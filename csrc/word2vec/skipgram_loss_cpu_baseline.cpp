#define LEXFORGE_ISA baseline
#include "word2vec/skipgram_loss_cpu_impl.h"
