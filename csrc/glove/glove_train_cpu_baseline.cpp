#define LEXFORGE_ISA baseline
#define LEXFORGE_ISA_BASELINE
#include "glove/glove_train_cpu_impl.h"
