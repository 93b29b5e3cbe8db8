#include "common/cpu_capability.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

bool cpu_has_tiles() {
#if defined(__linux__) && defined(__x86_64__)
  // Linux keeps the tiles of a thread for those alone who asked: arch_prctl(ARCH_REQ_XCOMP_PERM, 18).
  static const bool has_tiles = cpu_has_bf16() && std::getenv("LEXFORGE_CPU") == nullptr &&
                                __builtin_cpu_supports("amx-tile") &&
                                __builtin_cpu_supports("amx-bf16") &&
                                syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return has_tiles;
#else
  return false;
#endif
}

}  // namespace lexforge
