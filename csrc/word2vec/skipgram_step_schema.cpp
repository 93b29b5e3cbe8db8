#include "common/binding.h"
#include "word2vec/skipgram_workspace.h"

// Tables and state, as skipgram_step.h's SkipgramTable; what an optimiser has no use for is empty.
#define STATE                                                                                  \
  "Tensor(a!) in_table, Tensor(b!) out_table, Tensor(c!) in_moments, Tensor(d!) out_moments, " \
  "Tensor(e!) in_last, Tensor(f!) out_last, Tensor(g!) history, "
#define SETTINGS "str optimizer, int step, float lr, float beta1, float beta2, float eps"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "skipgram_step_workspace(int batch, int slots, int in_rows, int out_rows, int stride) -> "
      "int");
  m.def("skipgram_step_(" STATE
        "Tensor(h!) workspace, Tensor(i!) loss, Tensor center, Tensor contexts_and_negatives, "
        "Tensor mask, Tensor label, " SETTINGS ") -> ()");
  m.def("skipgram_sync_(" STATE SETTINGS ") -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(lexforge, CompositeExplicitAutograd, m) {
  m.impl("skipgram_step_workspace", TORCH_BOX(&lexforge::skipgram_step_workspace));
}
