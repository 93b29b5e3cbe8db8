// The CUDA language for g++: a device on which every .cu file of the project runs without a GPU.
//
// Blocks run one after another; the threads of a block are fibres that change places only where
// they must wait (barriers, warp collectives) or at atomics when the order is randomised. So the
// kernels run with exact CUDA meaning but without real parallelism, under any host sanitizer.
//
//   memory   global memory is host memory. Dynamic shared memory is allocated at its exact size.
//            All shared memory is filled with 0xFF (a NaN, -1) before every block.
//   errors   a barrier or collective that can never be passed, a shuffle from a lane outside the
//            mask, a failed __trap: the launch throws std::runtime_error naming kernel, block,
//            thread and line. Out-of-bounds accesses are the address sanitizer's business.
//   order    threads run in index order; LEXFORGE_EMULATION_ORDER=<seed> shuffles blocks and
//            threads instead. A kernel without races gives the same result under every seed, up to
//            the rounding of floating-point atomics.
//
// What it cannot run: blocks that wait for each other, and inline PTX. Those sit behind device
// functions with a plain twin.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <source_location>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

// One block runs at a time, so its static shared memory may be static. As thread-local storage it
// forms one range that can be refilled before every block; as ordinary storage it gets the address
// sanitizer's red zones. The two flavours of the build check one each.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

// ---- types --------------------------------------------------------------------------------------

#define LEXFORGE_VECTOR_TYPES(T, name)                                           \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                             \
  struct name##3 { T x, y, z; };                                                 \
  struct alignas(sizeof(T) == 8 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; }; \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                     \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }             \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
LEXFORGE_VECTOR_TYPES(char, char)
LEXFORGE_VECTOR_TYPES(unsigned char, uchar)
LEXFORGE_VECTOR_TYPES(short, short)
LEXFORGE_VECTOR_TYPES(unsigned short, ushort)
LEXFORGE_VECTOR_TYPES(int, int)
LEXFORGE_VECTOR_TYPES(unsigned, uint)
LEXFORGE_VECTOR_TYPES(long long, longlong)
LEXFORGE_VECTOR_TYPES(unsigned long long, ulonglong)
LEXFORGE_VECTOR_TYPES(float, float)
LEXFORGE_VECTOR_TYPES(double, double)
#undef LEXFORGE_VECTOR_TYPES

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- the scheduler (cuda_emulation.cpp)
// -----------------------------------------------------------

namespace lexforge::emulation {

using Site = std::source_location;

enum class Wait : uint8_t {
  kNone,  // ready to run
  kBarrier,
  kSyncwarp,
  kShuffle,
  kVote,
  kMatch,
  kReduceAdd,
  kReduceMin,
  kReduceMax,
  kReduceBits,
};

// What __syncthreads and its voting forms return: how many threads gave a true predicate.
int block_barrier(bool predicate, Site site);

// One warp collective. `source` is the lane that a shuffle reads; votes and reductions take
// `value` and return their result in every lane.
uint64_t warp_collective(Wait kind, unsigned mask, uint64_t value, int source, Site site);

// Lets other threads run where the order is randomised.
void yield();

[[noreturn]] void fail(const char* what, Site site);

unsigned active_mask();
int lane_index();
void* dynamic_shared_memory();

using ThreadBody = void (*)(const void*);
void run_grid(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, ThreadBody body,
              const void* context);

template <typename... Parameters>
void launch_kernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                   std::type_identity_t<Parameters>... arguments) {
  const auto call = [&] { kernel(arguments...); };
  run_grid(
      reinterpret_cast<const void*>(kernel), grid, block, shared_bytes,
      [](const void* context) { (*static_cast<const decltype(call)*>(context))(); }, &call);
}

template <typename T>
uint64_t to_bits(T value) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "shuffles take 4- or 8-byte numbers");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <typename T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace lexforge::emulation

// ---- synchronisation
// ------------------------------------------------------------------------------

#define LEXFORGE_SITE lexforge::emulation::Site site = lexforge::emulation::Site::current()

inline void __syncthreads(LEXFORGE_SITE) { lexforge::emulation::block_barrier(true, site); }
inline int __syncthreads_count(int predicate, LEXFORGE_SITE) {
  return lexforge::emulation::block_barrier(predicate != 0, site);
}
inline int __syncthreads_or(int predicate, LEXFORGE_SITE) {
  return lexforge::emulation::block_barrier(predicate != 0, site) != 0;
}
inline int __syncthreads_and(int predicate, LEXFORGE_SITE) {
  return lexforge::emulation::block_barrier(predicate == 0, site) == 0;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, LEXFORGE_SITE) {
  lexforge::emulation::warp_collective(lexforge::emulation::Wait::kSyncwarp, mask, 0, 0, site);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { lexforge::emulation::yield(); }
[[noreturn]] inline void __trap(LEXFORGE_SITE) { lexforge::emulation::fail("__trap", site); }

// ---- warp collectives
// -----------------------------------------------------------------------------

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, LEXFORGE_SITE) {
  using namespace lexforge::emulation;
  const int from = (lane_index() & ~(width - 1)) | (source & (width - 1));
  return from_bits<T>(warp_collective(Wait::kShuffle, mask, to_bits(value), from, site));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, LEXFORGE_SITE) {
  using namespace lexforge::emulation;
  const int lane = lane_index(), from = lane - static_cast<int>(delta);
  return from_bits<T>(warp_collective(Wait::kShuffle, mask, to_bits(value),
                                      from < (lane & ~(width - 1)) ? lane : from, site));
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, LEXFORGE_SITE) {
  using namespace lexforge::emulation;
  const int lane = lane_index(), from = lane + static_cast<int>(delta);
  return from_bits<T>(warp_collective(Wait::kShuffle, mask, to_bits(value),
                                      from > (lane | (width - 1)) ? lane : from, site));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize, LEXFORGE_SITE) {
  using namespace lexforge::emulation;
  const int lane = lane_index(), from = lane ^ lane_mask;
  return from_bits<T>(warp_collective(Wait::kShuffle, mask, to_bits(value),
                                      from > (lane | (width - 1)) ? lane : from, site));
}
inline unsigned __ballot_sync(unsigned mask, int predicate, LEXFORGE_SITE) {
  using namespace lexforge::emulation;
  return static_cast<unsigned>(warp_collective(Wait::kVote, mask, predicate != 0, 0, site));
}
inline int __any_sync(unsigned mask, int predicate, LEXFORGE_SITE) {
  using namespace lexforge::emulation;
  return warp_collective(Wait::kVote, mask, predicate != 0, 0, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, LEXFORGE_SITE) {
  using namespace lexforge::emulation;
  return warp_collective(Wait::kVote, mask, predicate == 0, 0, site) == 0;
}
template <typename T>
unsigned __match_any_sync(unsigned mask, T value, LEXFORGE_SITE) {
  using namespace lexforge::emulation;
  return static_cast<unsigned>(warp_collective(Wait::kMatch, mask, to_bits(value), 0, site));
}
inline unsigned __activemask() { return lexforge::emulation::active_mask(); }

#define LEXFORGE_WARP_REDUCTION(name, kind, T)                                               \
  inline T name(unsigned mask, T value, LEXFORGE_SITE) {                                     \
    using namespace lexforge::emulation;                                                     \
    /* A signed number travels with its sign so that 64-bit comparisons order it rightly. */ \
    const auto wide = static_cast<uint64_t>(static_cast<int64_t>(value));                    \
    return static_cast<T>(warp_collective(Wait::kind, mask, wide, 0, site));                 \
  }
LEXFORGE_WARP_REDUCTION(__reduce_add_sync, kReduceAdd, unsigned)
LEXFORGE_WARP_REDUCTION(__reduce_add_sync, kReduceAdd, int)
LEXFORGE_WARP_REDUCTION(__reduce_min_sync, kReduceMin, unsigned)
LEXFORGE_WARP_REDUCTION(__reduce_min_sync, kReduceMin, int)
LEXFORGE_WARP_REDUCTION(__reduce_max_sync, kReduceMax, unsigned)
LEXFORGE_WARP_REDUCTION(__reduce_max_sync, kReduceMax, int)
LEXFORGE_WARP_REDUCTION(__reduce_or_sync, kReduceBits, unsigned)
#undef LEXFORGE_WARP_REDUCTION

// ---- atomics
// --------------------------------------------------------------------------------------

namespace lexforge::emulation {
template <typename T, typename Change>
T atomic(T* address, Change change) {
  yield();
  const T old = *address;
  *address = change(old);
  return old;
}
}  // namespace lexforge::emulation

#define LEXFORGE_ATOMIC(name, T, expression)                                             \
  inline T name(T* address, T value) {                                                   \
    return lexforge::emulation::atomic(address, [=](T old) -> T { return expression; }); \
  }
#define LEXFORGE_INTEGER_ATOMICS(T)                                                           \
  LEXFORGE_ATOMIC(atomicAdd, T, old + value)                                                  \
  LEXFORGE_ATOMIC(atomicMax, T, old < value ? value : old)                                    \
  LEXFORGE_ATOMIC(atomicMin, T, value < old ? value : old)                                    \
  LEXFORGE_ATOMIC(atomicExch, T, (void(old), value))                                          \
  LEXFORGE_ATOMIC(atomicAnd, T, old& value)                                                   \
  LEXFORGE_ATOMIC(atomicOr, T, old | value)                                                   \
  LEXFORGE_ATOMIC(atomicXor, T, old ^ value)                                                  \
  inline T atomicCAS(T* address, T expected, T value) {                                       \
    return lexforge::emulation::atomic(address,                                               \
                                       [=](T old) { return old == expected ? value : old; }); \
  }
LEXFORGE_INTEGER_ATOMICS(unsigned)
LEXFORGE_INTEGER_ATOMICS(unsigned long long)
// Signed sums wrap around on the device.
LEXFORGE_ATOMIC(atomicAdd, int,
                static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value)))
LEXFORGE_ATOMIC(atomicSub, int,
                static_cast<int>(static_cast<unsigned>(old) - static_cast<unsigned>(value)))
LEXFORGE_ATOMIC(atomicSub, unsigned, old - value)
LEXFORGE_ATOMIC(atomicMax, int, old < value ? value : old)
LEXFORGE_ATOMIC(atomicMin, int, value < old ? value : old)
LEXFORGE_ATOMIC(atomicMax, long long, old < value ? value : old)
LEXFORGE_ATOMIC(atomicMin, long long, value < old ? value : old)
LEXFORGE_ATOMIC(atomicExch, int, (void(old), value))
LEXFORGE_ATOMIC(atomicExch, float, (void(old), value))
LEXFORGE_ATOMIC(atomicAnd, int, old& value)
LEXFORGE_ATOMIC(atomicOr, int, old | value)
LEXFORGE_ATOMIC(atomicXor, int, old ^ value)
LEXFORGE_ATOMIC(atomicAdd, float, old + value)
LEXFORGE_ATOMIC(atomicAdd, double, old + value)
LEXFORGE_ATOMIC(atomicAdd, float2, (float2{old.x + value.x, old.y + value.y}))
LEXFORGE_ATOMIC(atomicAdd, float4,
                (float4{old.x + value.x, old.y + value.y, old.z + value.z, old.w + value.w}))
inline int atomicCAS(int* address, int expected, int value) {
  return lexforge::emulation::atomic(address,
                                     [=](int old) { return old == expected ? value : old; });
}
#undef LEXFORGE_INTEGER_ATOMICS
#undef LEXFORGE_ATOMIC

// ---- arithmetic
// -----------------------------------------------------------------------------------

// The C library declares some of these names itself, so they can only be macros.
#define __expf(x) std::exp(static_cast<float>(x))
#define __exp10f(x) std::pow(10.0f, static_cast<float>(x))
#define __logf(x) std::log(static_cast<float>(x))
#define __log2f(x) std::log2(static_cast<float>(x))
#define __log10f(x) std::log10(static_cast<float>(x))
#define __powf(x, y) std::pow(static_cast<float>(x), static_cast<float>(y))
#define __sinf(x) std::sin(static_cast<float>(x))
#define __cosf(x) std::cos(static_cast<float>(x))
#define __tanf(x) std::tan(static_cast<float>(x))
#define rsqrtf(x) (1.0f / std::sqrt(static_cast<float>(x)))
#define rsqrt(x) (1.0 / std::sqrt(static_cast<double>(x)))

inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frsqrt_rn(float x) { return 1.0f / std::sqrt(x); }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __saturatef(float x) { return std::min(std::max(x, 0.0f), 1.0f); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline int __float2int_rd(float x) { return static_cast<int>(std::floor(x)); }

template <typename A, typename B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <typename A, typename B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= ((x >> bit) & 1u) << (31 - bit);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((uint64_t{a} * b) >> 32);
}

inline int __float_as_int(float x) {
  return lexforge::emulation::from_bits<int>(lexforge::emulation::to_bits(x));
}
inline unsigned __float_as_uint(float x) {
  return lexforge::emulation::from_bits<unsigned>(lexforge::emulation::to_bits(x));
}
inline float __int_as_float(int x) {
  return lexforge::emulation::from_bits<float>(lexforge::emulation::to_bits(x));
}
inline float __uint_as_float(unsigned x) {
  return lexforge::emulation::from_bits<float>(lexforge::emulation::to_bits(x));
}
inline long long __double_as_longlong(double x) {
  return lexforge::emulation::from_bits<long long>(lexforge::emulation::to_bits(x));
}
inline double __longlong_as_double(long long x) {
  return lexforge::emulation::from_bits<double>(lexforge::emulation::to_bits(x));
}

// ---- cached loads and stores
// ----------------------------------------------------------------------

template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
T __ldcs(const T* address) {
  return *address;
}
template <typename T>
T __ldcg(const T* address) {
  return *address;
}
template <typename T>
T __ldca(const T* address) {
  return *address;
}
template <typename T>
void __stcs(T* address, T value) {
  *address = value;
}
template <typename T>
void __stcg(T* address, T value) {
  *address = value;
}

// ---- the runtime library
// --------------------------------------------------------------------------

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
using cudaStream_t = struct CUstream_st*;
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault,
};
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize,
  cudaFuncAttributePreferredSharedMemoryCarveout,
};
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxThreadsPerMultiProcessor,
  cudaDevAttrMaxSharedMemoryPerBlock,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrL2CacheSize,
};

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess                 ? "no error"
         : error == cudaErrorMemoryAllocation ? "out of memory"
                                              : "invalid argument";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
template <typename T>
cudaError_t cudaMalloc(T** address, size_t bytes) {
  *address = static_cast<T*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  return *address != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
template <typename T>
cudaError_t cudaMallocAsync(T** address, size_t bytes, cudaStream_t) {
  return cudaMalloc(address, bytes);
}
inline cudaError_t cudaFree(void* address) { return std::free(address), cudaSuccess; }
inline cudaError_t cudaFreeAsync(void* address, cudaStream_t) { return cudaFree(address); }
inline cudaError_t cudaMemsetAsync(void* address, int value, size_t bytes, cudaStream_t = nullptr) {
  if (bytes > 0) std::memset(address, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t = nullptr) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
// As much as LEXFORGE_EMULATION_MEMORY says, in bytes.
inline cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const char* bytes = std::getenv("LEXFORGE_EMULATION_MEMORY");
  *free = *total = bytes != nullptr ? std::strtoull(bytes, nullptr, 10) : size_t{64} << 20;
  return cudaSuccess;
}
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}
// A small Hopper: few multiprocessors keep persistent grids small.
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 2;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 48 * 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 227 * 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = 228 * 1024;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
  }
  return cudaSuccess;
}
template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int block_size,
                                                          size_t) {
  *blocks = std::max(1, std::min(2, 2048 / std::max(block_size, 1)));
  return cudaSuccess;
}
