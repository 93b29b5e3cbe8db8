// Argument checks of the bindings. The stable ABI can only raise RuntimeError: the Python wrappers
// in lexforge.ops raise ValueError, TypeError and IndexError first; what is checked here again is
// what memory safety needs, for callers of torch.ops directly.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>

namespace lexforge {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check_contiguous(const Tensor& tensor, ScalarType dtype, int64_t dims, const char* op,
                             const char* name) {
  STD_TORCH_CHECK(tensor.scalar_type() == dtype, op, ": ", name, " has the wrong dtype");
  STD_TORCH_CHECK(tensor.dim() == dims, op, ": ", name, " must have ", dims, " dimensions, got ",
                  tensor.dim());
  STD_TORCH_CHECK(tensor.is_contiguous(), op, ": ", name, " must be contiguous");
}

// The tensor's elements as T*, for reading or for writing.
template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

}  // namespace lexforge
