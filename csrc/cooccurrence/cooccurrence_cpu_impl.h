#include <cstdint>

#include "cooccurrence/cooccurrence_cpu.h"
// Below here the compiler may use the instruction set of the build.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {

int64_t count_dense(const uint64_t* sum, int64_t size) {
  int64_t entries = 0;
  for (int64_t i = 0; i < size; ++i) entries += sum[i] != 0;
  return entries;
}

void take_dense(uint64_t* sum, int64_t size, int64_t entries, int32_t* cols, int64_t* counts) {
  int64_t i = 0, entry = 0;
  for (; i < size && entry < entries; ++i) {
    cols[entry] = static_cast<int32_t>(i);
    counts[entry] = static_cast<int64_t>(sum[i]);
    entry += sum[i] != 0;
    sum[i] = 0;
  }
}

}  // namespace lexforge::LEXFORGE_ISA
