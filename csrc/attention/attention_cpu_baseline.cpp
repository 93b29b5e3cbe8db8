#define LEXFORGE_ISA baseline
#include "attention/attention_cpu_impl.h"
