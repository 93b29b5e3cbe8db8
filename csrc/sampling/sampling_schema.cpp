#include "common/binding.h"

STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def("build_alias(Tensor weights) -> Tensor");
  m.def(
      "alias_sample(Tensor table, SymInt count, int seed, int offset, ScalarType dtype) -> Tensor");
  m.def(
      "sample_noise(Tensor table, Tensor positives, Tensor offsets, Tensor? positions, "
      "int first_position, int negatives, int seed, int epoch) -> Tensor");
}
