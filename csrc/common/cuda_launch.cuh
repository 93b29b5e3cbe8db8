// The one way to start a kernel: launch(kernel, grid, block, shared bytes, stream, arguments...).
// Every launch is checked.
#pragma once

#include <cuda_runtime.h>
#include <cxxabi.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

// The block's dynamic shared memory as `type* name`, 16-byte aligned: inside a kernel, in place of
// `extern __shared__`.
#define LEXFORGE_DYNAMIC_SHARED(type, name)                              \
  extern __shared__ __align__(16) unsigned char lexforge_shared_bytes[]; \
  type* name = reinterpret_cast<type*>(lexforge_shared_bytes)

namespace lexforge {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const std::string message = std::string(what) + ": " + cudaGetErrorString(status);
  cudaGetLastError();  // told now: the next launch would tell of it again
  throw std::runtime_error(message);
}

inline std::string kernel_name(const void* kernel) {
  const char* name = nullptr;
  if (cudaFuncGetName(&name, kernel) != cudaSuccess) return "a kernel";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> readable(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return readable != nullptr ? readable.get() : name;
}

// "at": the fault may be that of an earlier kernel, or of another library, which CUDA tells of at
// the next call.
inline void check_launch(const void* kernel) {
  const cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) return;
  check_cuda(status, ("at the launch of " + kernel_name(kernel)).c_str());
}

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  if (shared_bytes > 48 * 1024) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)),
               "shared memory");
  }
  // clang-format off: it would take the brackets apart
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  // clang-format on
  check_launch(reinterpret_cast<const void*>(kernel));
}

// Whole blocks of `block` threads that cover n elements, at least one.
inline uint32_t blocks_for(int64_t n, int64_t block) {
  return static_cast<uint32_t>(n <= 0 ? 1 : (n + block - 1) / block);
}

}  // namespace lexforge
