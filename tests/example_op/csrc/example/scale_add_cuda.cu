#include "common/cuda_launch.cuh"
#include "example/scale_add.h"

namespace lexforge {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) scale_add_kernel(ScaleAddParams params) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < params.count) params.y[i] += params.a * params.x[i];
}

}  // namespace

void launch_scale_add(const ScaleAddParams& params, void* stream) {
  launch(scale_add_kernel, dim3(blocks_for(params.count, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), params);
}

}  // namespace lexforge
