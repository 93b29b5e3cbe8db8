#define LEXFORGE_ISA baseline
#include "transformer/add_layer_norm_cpu_impl.h"
