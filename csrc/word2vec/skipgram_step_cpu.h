// Runs the phases of skipgram_step.h on torch's threads, for the CPU bindings.
#pragma once

#include <vector>

#include "common/cpu_capability.h"
#include "word2vec/skipgram_step_binding.h"

namespace lexforge {

// Brings all rows of both tables to step `done`.
void sync_tables_cpu(SkipgramStepParams& params, const AdamSettings& settings, double* history,
                     AdamStep& adam, int64_t done);

// One step on params.batch: params.step and the scratch arrays are set by the caller.
void run_step_cpu(SkipgramStepParams& params, const AdamSettings& settings, double* history,
                  AdamStep& adam);

}  // namespace lexforge
