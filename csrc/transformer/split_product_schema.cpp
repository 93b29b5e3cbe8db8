#include "common/binding.h"

// y [M, N] and sums [M] of left [M, K] and right [K, N], each with one dimension along memory.
// Returns whether this is right here; else y and sums are as they were with `add`, and without it
// anything.
STABLE_TORCH_LIBRARY_FRAGMENT(lexforge, m) {
  m.def(
      "split_product_(Tensor(a!) y, Tensor(b!)? sums, Tensor left, Tensor right, Tensor? bias, "
      "bool add) -> bool");
}
