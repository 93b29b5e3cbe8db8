#include "common/cuda_launch.cuh"
#include "probe/probe.h"

namespace lexforge {
namespace {

constexpr int kThreads = 128;

__device__ void store_row(uint32_t* out, int64_t i, PhiloxQuad quad) {
  for (int w = 0; w < 4; ++w) out[4 * i + w] = quad.word[w];
}

__global__ void philox_kernel(const uint32_t* counters, uint64_t seed, int64_t n, uint32_t* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  store_row(out, i,
            philox4x32(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                       {{counters[4 * i], counters[4 * i + 1], counters[4 * i + 2],
                         counters[4 * i + 3]}}));
}

__global__ void philox_run_kernel(PhiloxRun run, int64_t n, uint32_t* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) store_row(out, i, quad_of_run(run, i));
}

}  // namespace

void launch_probe_philox(const uint32_t* counters, uint64_t seed, int64_t n, uint32_t* out,
                         void* stream) {
  launch(philox_kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), counters, seed, n, out);
}

void launch_probe_philox_run(const PhiloxRun& run, int64_t n, uint32_t* out, void* stream) {
  launch(philox_run_kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), run, n, out);
}

}  // namespace lexforge
