// Which build of the CPU kernels runs here: decided once, at the first call.
#pragma once

namespace lexforge {

enum class CpuCapability : int { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// The best instruction set that this processor and operating system have (AVX2 with FMA; AVX-512
// with F, BW, DQ and VL), lowered by LEXFORGE_CPU=baseline|avx2|avx512, never raised by it.
CpuCapability cpu_capability();

// Whether it also multiplies pairs of bfloat16 (AVX512_BF16), the capability being kAvx512.
bool cpu_has_bf16();

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

}  // namespace lexforge
