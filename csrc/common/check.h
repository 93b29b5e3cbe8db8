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
#include <initializer_list>
#include <optional>

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

// An argument and its name in messages; none where an optional one is absent.
struct NamedTensor {
  const char* name;
  const Tensor* tensor;

  NamedTensor(const char* name, const Tensor& tensor) : name(name), tensor(&tensor) {}
  NamedTensor(const char* name, const std::optional<Tensor>& tensor)
      : name(name), tensor(tensor.has_value() ? &*tensor : nullptr) {}
};

// That all lie on the device of the first: the kernel runs there, and the dispatcher has asked no
// more than that one of the arguments does. Memory of the host, or of another GPU, that a kernel
// writes to or reads is a fault that ends the process's use of the GPU.
inline void check_devices(const char* op, std::initializer_list<NamedTensor> tensors) {
  const NamedTensor& first = *tensors.begin();
  for (const NamedTensor& other : tensors) {
    STD_TORCH_CHECK(other.tensor == nullptr || other.tensor->device() == first.tensor->device(), op,
                    ": ", other.name, " must be on the device of ", first.name);
  }
}

// The tensor's elements as T*, for reading or for writing.
template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

}  // namespace lexforge
