#define LEXFORGE_ISA baseline
#include "transformer/embedding_sum_cpu_impl.h"
