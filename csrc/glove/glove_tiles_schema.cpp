#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def("glove_deal_parts(Tensor row_sizes, int parts, int seed) -> Tensor");
  m.def(
      "glove_tiles(Tensor row_begin, Tensor cols, Tensor values, Tensor part, int parts, "
      "int first_part, int last_part, int seed, int threads) -> (Tensor tile_begin, "
      "Tensor segment_row, Tensor segment_begin, Tensor column, Tensor log_count, int problem, "
      "int entry)");
}
