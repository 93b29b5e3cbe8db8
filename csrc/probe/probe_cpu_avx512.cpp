#define LEXFORGE_ISA avx512
#define LEXFORGE_ISA_AVX512
#include "probe/probe_cpu_impl.h"
