// The one way to start a kernel: launch(kernel, grid, block, shared bytes, stream, arguments...).
// Every launch is checked.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

// The block's dynamic shared memory as `type* name`, 16-byte aligned: inside a kernel, in place of
// `extern __shared__`.
#define LEXFORGE_DYNAMIC_SHARED(type, name)                              \
  extern __shared__ __align__(16) unsigned char lexforge_shared_bytes[]; \
  type* name = reinterpret_cast<type*>(lexforge_shared_bytes)

namespace lexforge {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
  }
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
  check_cuda(cudaGetLastError(), "kernel launch");
}

// Whole blocks of `block` threads that cover n elements, at least one.
inline uint32_t blocks_for(int64_t n, int64_t block) {
  return static_cast<uint32_t>(n <= 0 ? 1 : (n + block - 1) / block);
}

}  // namespace lexforge
