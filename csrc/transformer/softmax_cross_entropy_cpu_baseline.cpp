#define LEXFORGE_ISA baseline
#include "transformer/softmax_cross_entropy_cpu_impl.h"
