// Functions that CPU kernels, CUDA kernels and plain C++ tests share.
#pragma once

#ifdef __CUDACC__
#define LEXFORGE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define LEXFORGE_HOST_DEVICE inline __attribute__((always_inline))
#endif
