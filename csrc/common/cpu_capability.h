// Which build of the CPU kernels runs here: decided once, at the first call.
#pragma once

#include <type_traits>

namespace lexforge {

enum class CpuCapability : int { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// The best instruction set that this processor and operating system have (AVX2 with FMA; AVX-512
// with F, BW, DQ and VL), lowered by LEXFORGE_CPU=baseline|avx2|avx512, never raised by it.
CpuCapability cpu_capability();

// Whether it also multiplies pairs of bfloat16 (AVX512_BF16), the capability being kAvx512.
bool cpu_has_bf16();

// Whether it also multiplies tiles of bfloat16 (AMX), and the system lets this process do so. Any
// LEXFORGE_CPU lowers that: no instruction set of that name has them.
bool cpu_has_tiles();

// The build of one function that fits this machine: choose(baseline::f, avx2::f, avx512::f).
template <typename Function>
Function* choose(Function* baseline, Function* avx2, Function* avx512) {
  switch (cpu_capability()) {
    case CpuCapability::kAvx512:
      return avx512;
    case CpuCapability::kAvx2:
      return avx2;
    default:
      return baseline;
  }
}

// The same of a template or an overloaded function, named once.
#define LEXFORGE_CHOOSE(...) \
  ::lexforge::choose(&baseline::__VA_ARGS__, &avx2::__VA_ARGS__, &avx512::__VA_ARGS__)

// The same with the build for products of bfloat16, which exists for Bfloat16 alone.
#define LEXFORGE_CHOOSE_BF16(scalar_t, ...)                  \
  [] {                                                       \
    if constexpr (std::is_same_v<scalar_t, Bfloat16>) {      \
      if (cpu_has_bf16()) return &avx512::bf16::__VA_ARGS__; \
    }                                                        \
    return LEXFORGE_CHOOSE(__VA_ARGS__);                     \
  }()

}  // namespace lexforge
