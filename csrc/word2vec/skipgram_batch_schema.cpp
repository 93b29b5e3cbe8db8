#include "common/binding.h"

// The corpus of one epoch, as skipgram_batch.h's SkipgramSource.
#define SOURCE                                                                              \
  "Tensor kept_tokens, Tensor kept_positions, Tensor centers, Tensor order, Tensor noise, " \
  "int window, int negatives, int seed, int epoch, int first, int last, "

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "skipgram_windows(Tensor tokens, Tensor offsets, Tensor keep, int window, "
      "bool dynamic_window, int seed, int epoch) -> (Tensor, Tensor, Tensor)");
  m.def("skipgram_batch(" SOURCE "int length) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "skipgram_epoch_workspace(int batch, int slots, int contexts, int negatives, int in_rows, "
      "int out_rows, int stride) -> int");
  m.def(
      "skipgram_epoch_(Tensor(a!) in_table, Tensor(b!) out_table, Tensor(c!) in_moments, "
      "Tensor(d!) out_moments, Tensor(e!) in_last, Tensor(f!) out_last, Tensor(g!) history, "
      "Tensor(h!) workspace, Tensor(i!) stats, " SOURCE
      "int batch_size, str optimizer, int step, float lr, float beta1, float beta2, float eps) "
      "-> ()");
}
