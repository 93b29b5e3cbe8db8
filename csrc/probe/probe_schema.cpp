#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def("_philox(Tensor counters, int seed) -> Tensor");
  m.def(
      "_philox_run(Tensor like, int seed, int epoch, int position, int stream, int slot, int "
      "count, "
      "bool along_slots) -> Tensor");
  m.def("_philox_xor(int seed, int count) -> int");
  m.def("_numerics(Tensor x) -> Tensor");
  m.def("_parallel_chunks(int count, int grain) -> int");
}
