#define LEXFORGE_ISA baseline
#include "sampling/sampling_cpu_impl.h"
