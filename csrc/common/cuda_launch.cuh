// The one way to start a kernel: launch(kernel, grid, block, shared bytes, stream, arguments...).
//
// Every launch is checked. The emulated device (tests/cuda_emulation) supplies its own header of
// this language in place of the CUDA one and its own launch_kernel; nothing else in a .cu file
// knows about it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

#ifdef LEXFORGE_CUDA_EMULATED
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>
#include <cxxabi.h>
#endif

// The block's dynamic shared memory as `type* name`, 16-byte aligned: inside a kernel, in place of
// `extern __shared__`.
#ifdef LEXFORGE_CUDA_EMULATED
#define LEXFORGE_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(lexforge::emulation::dynamic_shared_memory())
#else
#define LEXFORGE_DYNAMIC_SHARED(type, name)                              \
  extern __shared__ __align__(16) unsigned char lexforge_shared_bytes[]; \
  type* name = reinterpret_cast<type*>(lexforge_shared_bytes)
#endif

namespace lexforge {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
  }
}

#ifndef LEXFORGE_CUDA_EMULATED
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
#endif

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            [[maybe_unused]] cudaStream_t stream, Arguments&&... arguments) {
#ifdef LEXFORGE_CUDA_EMULATED
  lexforge::emulation::launch_kernel(kernel, grid, block, shared_bytes,
                                     static_cast<Parameters>(arguments)...);
#else
  if (shared_bytes > 48 * 1024) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)),
               "shared memory");
  }
  // clang-format off: it would take the brackets apart
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  // clang-format on
  check_launch(reinterpret_cast<const void*>(kernel));
#endif
}

// Whole blocks of `block` threads that cover n elements, at least one.
inline uint32_t blocks_for(int64_t n, int64_t block) {
  return static_cast<uint32_t>(n <= 0 ? 1 : (n + block - 1) / block);
}

}  // namespace lexforge
