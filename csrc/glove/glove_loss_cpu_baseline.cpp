#define LEXFORGE_ISA baseline
#include "glove/glove_loss_cpu_impl.h"
