// For *_ops_cuda.cpp: the device guard and the stream that every CUDA entry needs.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "common/binding.h"

#define LEXFORGE_CUDA_IMPL(m) STABLE_TORCH_LIBRARY_IMPL(lexforge, CUDA, m)

namespace lexforge {

// The Device of bindings on CUDA: makes the tensor's device current for one call and holds its
// current stream. Ids are looked at by the Python wrappers and the kernels, not here.
class CudaCall {
 public:
  static constexpr bool kReadable = false;

  static Tensor large(const Tensor& tensor) { return tensor; }
  static Tensor zeros(const Tensor& like, Sizes sizes) { return new_zeros(like, sizes); }
  static void check_ids(const Checks&, const char*, const Tensor&, int64_t) {}

  explicit CudaCall(const Tensor& tensor)
      : guard_(tensor.get_device_index()), device_(tensor.get_device_index()) {}
  void* stream() const {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device_, &stream));
    return stream;
  }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  int32_t device_;
};

}  // namespace lexforge
