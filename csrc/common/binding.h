// What the bindings of all ops are made of.
//
// x_binding.h holds the whole function of an op over a `Device`: checks, results, the switch over
// dtypes, and a call of device.run(params). x_ops.cpp and x_ops_cuda.cpp hold what differs: a
// Device (CpuCall or CudaCall, with `run`), and the registration.
//
// The stable ABI can only raise RuntimeError: the Python wrappers in lexforge.ops raise ValueError,
// TypeError and IndexError first; what is checked here again is what memory safety needs, for
// callers of torch.ops directly.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "common/bfloat16.h"

namespace lexforge {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;
using Sizes = std::initializer_list<int64_t>;

// MAX_THREADS of lexforge/_arguments.py.
constexpr int64_t kMaxThreads = 1024;

// Raises RuntimeError. Unlike STD_TORCH_CHECK's, the message is not preceded by where in the source
// it was made: users read it.
template <typename... Message>
[[noreturn]] void fail(const Message&... message) {
  std::ostringstream text;
  (text << ... << message);
  throw std::runtime_error(text.str());
}

// ---- Elements ----------------------------------------------------------------------------------

// The tensor's elements as T*, for reading or for writing.
template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}
template <typename T>
T* data_or_null(const OptionalTensor& tensor) {
  return tensor.has_value() ? data<T>(*tensor) : nullptr;
}

template <typename T>
constexpr ScalarType kType = std::is_same_v<T, float>      ? ScalarType::Float
                             : std::is_same_v<T, double>   ? ScalarType::Double
                             : std::is_same_v<T, Bfloat16> ? ScalarType::BFloat16
                             : std::is_same_v<T, Half>     ? ScalarType::Half
                             : std::is_same_v<T, int32_t>  ? ScalarType::Int
                             : std::is_same_v<T, int64_t>  ? ScalarType::Long
                                                           : ScalarType::Undefined;

// What sums of scalar_t are kept in: float, or double for double.
template <typename scalar_t>
using Stat = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;

inline ScalarType stat_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// As torch's Python spells it.
inline const char* type_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Half:
      return "float16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Byte:
      return "uint8";
    default:
      return torch::headeronly::toString(type);
  }
}

// function.operator()<T>() for the one of the types that has the dtype.
template <typename... Types, typename Function>
void for_types(const char* op, const char* name, ScalarType dtype, const Function& function) {
  const auto call = [&]<typename T>() {
    if (dtype == kType<T>) function.template operator()<T>();
    return dtype == kType<T>;
  };
  if ((call.template operator()<Types>() || ...)) return;
  std::string list;
  size_t left = sizeof...(Types);
  ((list += type_name(kType<Types>), list += --left > 1 ? ", " : left == 1 ? " or " : ""), ...);
  fail(op, ": ", name, " must be ", list, ", got ", type_name(dtype));
}

// ---- Checks ------------------------------------------------------------------------------------

// The checks of one call. Tensors lie on the device of the first, that of the constructor: the
// kernel runs there, and the dispatcher has asked no more than that one of the arguments does.
// Memory of the host, or of another GPU, that a kernel writes to or reads is a fault that ends the
// process's use of the GPU.
class Checks {
 public:
  static constexpr int64_t kAny = -1;  // of a size

  const char* const op;

  Checks(const char* op, const char* name, const Tensor& first)
      : op(op), name_(name), first_(first) {}

  template <typename... Message>
  void that(bool holds, const Message&... message) const {
    if (!holds) fail(op, ": ", message...);
  }
  void device(const char* name, const Tensor& tensor) const {
    that(tensor.device() == first_.device(), name, " must be on the device of ", name_);
  }
  void dtype(const char* name, const Tensor& tensor, ScalarType wanted) const {
    that(tensor.scalar_type() == wanted, name, " has the wrong dtype: must be ", type_name(wanted),
         ", got ", type_name(tensor.scalar_type()));
  }
  // A contiguous tensor of these sizes.
  void tensor(const char* name, const Tensor& tensor, ScalarType wanted, Sizes sizes) const {
    device(name, tensor);
    dtype(name, tensor, wanted);
    const auto dims = static_cast<int64_t>(sizes.size());
    that(tensor.dim() == dims, name, " must have ", dims, " dimensions, got ", tensor.dim());
    that(tensor.is_contiguous(), name, " must be contiguous");
    for (int64_t i = 0; i < dims; ++i) {
      const int64_t size = sizes.begin()[i];
      if (size != kAny && tensor.size(i) != size) {
        that(false, name, " must be ", list(sizes.begin(), dims), ", got ",
             list(tensor.sizes().data(), dims));
      }
    }
  }
  void tensor(const char* name, const OptionalTensor& given, ScalarType wanted, Sizes sizes) const {
    if (given.has_value()) tensor(name, *given, wanted, sizes);
  }
  // One of the dtype and shape of another, with any strides.
  void shape_of(const char* of_name, const Tensor& of, const char* name,
                const Tensor& tensor) const {
    device(name, tensor);
    dtype(name, tensor, of.scalar_type());
    if (tensor.sizes() != of.sizes()) {
      that(false, name, " must have the shape of ", of_name, ", ",
           list(of.sizes().data(), of.dim()), ", got ", list(tensor.sizes().data(), tensor.dim()));
    }
  }
  // A contiguous one.
  void like(const char* of_name, const Tensor& of, const char* name, const Tensor& tensor) const {
    shape_of(of_name, of, name, tensor);
    that(tensor.is_contiguous(), name, " must be contiguous");
  }
  void like(const char* of_name, const Tensor& of, const char* name,
            const OptionalTensor& given) const {
    if (given.has_value()) like(of_name, of, name, *given);
  }
  void unit_stride(const char* name, const Tensor& tensor) const {
    const int64_t last = tensor.dim() - 1;
    that(tensor.size(last) <= 1 || tensor.stride(last) == 1, name,
         " must have stride 1 in its last dimension");
  }
  void aligned(const char* name, const Tensor& tensor, uintptr_t bytes) const {
    that(tensor.numel() == 0 || reinterpret_cast<uintptr_t>(tensor.data_ptr()) % bytes == 0, name,
         " must start at a ", bytes == 64 ? "64-byte boundary" : "multiple of 8 bytes");
  }
  void range(const char* names, int64_t first, int64_t last, int64_t size) const {
    that(0 <= first && first <= last && last <= size, names, " must be a range within [0, ", size,
         "], got [", first, ", ", last, ")");
  }
  // What the op writes to shares no memory with anything else: kernels would find other row numbers
  // than were looked at.
  struct Named {
    const char* name;
    const Tensor& tensor;
  };
  void apart(std::initializer_list<Named> written, std::initializer_list<Named> read = {}) const {
    for (const Named* one = written.begin(); one != written.end(); ++one) {
      for (const Named* other = one + 1; other != written.end(); ++other) apart(*one, *other);
      for (const Named& other : read) apart(*one, other);
    }
  }
  void threads(int64_t count) const {
    that(count >= 1 && count <= kMaxThreads, "threads must be 1 to ", kMaxThreads, ", got ", count);
  }
  // Dropout's: one number, wanted where something may be dropped.
  void dropout(double p, const OptionalTensor& seed) const {
    that(0 <= p && p <= 1, "dropout_p must be in [0, 1], got ", p);
    if (p == 0) return;
    that(seed.has_value() && seed->scalar_type() == ScalarType::Long && seed->numel() == 1,
         "seed must be one int64");
    device("seed", *seed);
  }

 private:
  void apart(const Named& one, const Named& other) const {
    const auto begin = [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.data_ptr()); };
    const auto end = [&](const Tensor& t) {
      uintptr_t last = 0;
      for (int64_t i = 0; i < t.dim(); ++i) last += (t.size(i) - 1) * t.stride(i);
      return begin(t) + (last + 1) * t.element_size();
    };
    if (one.tensor.numel() == 0 || other.tensor.numel() == 0) return;
    that(end(one.tensor) <= begin(other.tensor) || end(other.tensor) <= begin(one.tensor),
         other.name, " must not share memory with ", one.name);
  }
  static std::string list(const int64_t* sizes, int64_t dims) {
    std::string text = "[";
    for (int64_t i = 0; i < dims; ++i) {
      text += (i == 0 ? "" : ", ") + (sizes[i] == kAny ? "*" : std::to_string(sizes[i]));
    }
    return text + "]";
  }

  const char* const name_;
  const Tensor& first_;
};

}  // namespace lexforge
