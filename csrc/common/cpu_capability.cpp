#include "common/cpu_capability.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
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
#if defined(__x86_64__) && defined(__linux__)
  static const bool has_tiles = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kBf16 = 1u << 22, kTiles = 1u << 24;
    if (!cpu_has_bf16() || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    if ((d & kBf16) == 0 || (d & kTiles) == 0) return false;
    constexpr int kRequestPermission = 0x1023,
                  kTileData = 18;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return has_tiles;
#else
  return false;
#endif
}

}  // namespace lexforge
