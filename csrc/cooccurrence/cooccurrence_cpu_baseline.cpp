#define LEXFORGE_ISA baseline
#define LEXFORGE_ISA_BASELINE
#include "cooccurrence/cooccurrence_cpu_impl.h"
