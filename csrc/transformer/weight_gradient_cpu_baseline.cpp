#define LEXFORGE_ISA baseline
#include "transformer/weight_gradient_cpu_impl.h"
