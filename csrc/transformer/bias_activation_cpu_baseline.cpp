#define LEXFORGE_ISA baseline
#include "transformer/bias_activation_cpu_impl.h"
