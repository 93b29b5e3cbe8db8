#define LEXFORGE_ISA baseline
#include "probe/probe_cpu_impl.h"
