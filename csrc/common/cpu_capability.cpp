#include "common/cpu_capability.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace lexforge {
namespace {

CpuCapability detect() {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      return CpuCapability::kAvx512;
    }
    return CpuCapability::kAvx2;
  }
#endif
  return CpuCapability::kBaseline;
}

CpuCapability requested() {
  const char* name = std::getenv("LEXFORGE_CPU");
  if (name != nullptr && std::strcmp(name, "baseline") == 0) return CpuCapability::kBaseline;
  if (name != nullptr && std::strcmp(name, "avx2") == 0) return CpuCapability::kAvx2;
  return CpuCapability::kAvx512;  // no limit; Python refuses names it does not know
}

}  // namespace

CpuCapability cpu_capability() {
  static const CpuCapability capability = std::min(detect(), requested());
  return capability;
}

bool cpu_has_bf16() {
#ifdef __x86_64__
  static const bool has_bf16 = cpu_capability() == CpuCapability::kAvx512 &&
                               static_cast<bool>(__builtin_cpu_supports("avx512bf16"));
  return has_bf16;
#else
  return false;
#endif
}

}  // namespace lexforge
