// Small kernels, right and wrong, that test the device itself (test_device.py).
#include <exception>
#include <string>

#include "common/cuda_launch.cuh"

namespace {

using lexforge::launch;

// Sum of a vector by shuffles, static and dynamic shared memory and one atomic per block.
template <typename scalar_t>
__global__ void block_sum_kernel(const scalar_t* values, int n, scalar_t* sum) {
  __shared__ scalar_t partial[32];
  LEXFORGE_DYNAMIC_SHARED(scalar_t, staged);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int index = static_cast<int>(blockIdx.x * blockDim.x) + thread;
  staged[thread] = index < n ? values[index] : scalar_t(0);
  __syncthreads();
  scalar_t value = staged[blockDim.x - 1 - thread];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  if (thread == 0) {
    value = 0;
    for (int i = 0; i < static_cast<int>(blockDim.x) / 32; ++i) value += partial[i];
    atomicAdd(sum, value);
  }
}

// One result per collective, for one warp whose lane l brings l.
__global__ void collectives_kernel(int* results) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned odd = __ballot_sync(0xFFFFFFFFu, lane % 2);
  int out[10] = {
      static_cast<int>(odd),
      __shfl_sync(0xFFFFFFFFu, lane, 3),
      __shfl_sync(0xFFFFFFFFu, lane, 3, 8),
      __shfl_up_sync(0xFFFFFFFFu, lane, 5),
      __shfl_down_sync(0xFFFFFFFFu, lane, 5),
      __shfl_xor_sync(0xFFFFFFFFu, lane, 1, 2),
      __any_sync(0xFFFFFFFFu, lane == 31),
      __all_sync(0xFFFFFFFFu, lane < 31),
      __reduce_add_sync(0xFFFFFFFFu, lane),
      __reduce_max_sync(0xFFFFFFFFu, -lane),
  };
  if (lane % 2) out[1] = __shfl_sync(odd, lane, 1);  // half a warp on its own
  for (int i = 0; i < 10; ++i) results[i * 32 + lane] = out[i];
}

__global__ void out_of_bounds_global_kernel(const float* values, int n, float* out) {
  out[threadIdx.x] = values[threadIdx.x == 5 ? n : 0];
}

__global__ void out_of_bounds_static_kernel(float* out, int beyond) {
  __shared__ float staged[64];
  staged[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = staged[threadIdx.x + beyond];
}

__global__ void out_of_bounds_dynamic_kernel(float* out, int beyond) {
  LEXFORGE_DYNAMIC_SHARED(float, staged);
  staged[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = staged[threadIdx.x + beyond];
}

// What the shared memory holds when nobody has written it.
__global__ void unwritten_shared_kernel(float* out) {
  __shared__ float static_memory[32];
  LEXFORGE_DYNAMIC_SHARED(float, dynamic_memory);
  out[2 * threadIdx.x] = static_memory[threadIdx.x];
  out[2 * threadIdx.x + 1] = dynamic_memory[threadIdx.x];
  __syncthreads();
  static_memory[threadIdx.x] = 0.0f;
  dynamic_memory[threadIdx.x] = 0.0f;
}

__global__ void barrier_deadlock_kernel() {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncwarp(0xFFFFFFFFu);  // lanes 0..7 of the second warp never come
  }
}

__global__ void shuffle_deadlock_kernel(int* out) {
  int value = static_cast<int>(threadIdx.x);
  if (threadIdx.x != 7) value = __shfl_xor_sync(0xFFFFFFFFu, value, 1);
  __syncthreads();
  out[threadIdx.x] = value;
}

__global__ void shuffle_outside_mask_kernel(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000FFFFu, 1, 20);
}

__global__ void trap_kernel() {
  if (threadIdx.x == 9) __trap();
}

// Each thread reads its neighbour's number; without the barrier it may come too early.
template <bool kWait>
__global__ void neighbour_kernel(int* out) {
  LEXFORGE_DYNAMIC_SHARED(int, staged);
  staged[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (kWait) __syncthreads();
  out[threadIdx.x] = staged[(threadIdx.x + 1) % blockDim.x];
}

template <typename Run>
const char* message_of(Run run) {
  static std::string message;
  try {
    run();
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

}  // namespace

// Each returns null, or the message of the error that the launch raised.
#define ENTRY extern "C" __attribute__((visibility("default"))) const char*

ENTRY block_sum_float(const float* values, int n, float* sum) {
  return message_of([&] {
    launch(block_sum_kernel<float>, lexforge::blocks_for(n, 128), 128, 128 * sizeof(float), nullptr,
           values, n, sum);
  });
}
ENTRY block_sum_double(const double* values, int n, double* sum) {
  return message_of([&] {
    launch(block_sum_kernel<double>, lexforge::blocks_for(n, 256), 256, 256 * sizeof(double),
           nullptr, values, n, sum);
  });
}
ENTRY collectives(int* results) {
  return message_of([&] { launch(collectives_kernel, 1, 32, 0, nullptr, results); });
}
ENTRY out_of_bounds_global(const float* values, int n, float* out) {
  return message_of(
      [&] { launch(out_of_bounds_global_kernel, 1, 32, 0, nullptr, values, n, out); });
}
ENTRY out_of_bounds_static(float* out, int beyond) {
  return message_of([&] { launch(out_of_bounds_static_kernel, 1, 64, 0, nullptr, out, beyond); });
}
ENTRY out_of_bounds_dynamic(float* out, int beyond) {
  return message_of([&] {
    launch(out_of_bounds_dynamic_kernel, 1, 64, 64 * sizeof(float), nullptr, out, beyond);
  });
}
ENTRY unwritten_shared(float* out) {
  return message_of(
      [&] { launch(unwritten_shared_kernel, 2, 32, 32 * sizeof(float), nullptr, out); });
}
ENTRY barrier_deadlock() {
  return message_of([&] { launch(barrier_deadlock_kernel, 1, 64, 0, nullptr); });
}
ENTRY shuffle_deadlock(int* out) {
  return message_of([&] { launch(shuffle_deadlock_kernel, 1, 32, 0, nullptr, out); });
}
ENTRY shuffle_outside_mask(int* out) {
  return message_of([&] { launch(shuffle_outside_mask_kernel, 1, 32, 0, nullptr, out); });
}
ENTRY trap() {
  return message_of([&] { launch(trap_kernel, dim3(2), dim3(32), 0, nullptr); });
}
ENTRY neighbour(int* out, int threads, bool wait) {
  return message_of([&] {
    launch(wait ? neighbour_kernel<true> : neighbour_kernel<false>, 1, threads,
           threads * sizeof(int), nullptr, out);
  });
}
ENTRY too_many_threads() {
  return message_of([&] { launch(trap_kernel, 1, 1025, 0, nullptr); });
}
