// Large results of CPU bindings: on huge pages, and zeros that are there only where one writes.
#pragma once

#include <cstring>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "common/binding.h"

namespace lexforge {

// The C library maps what is larger afresh each time, and its first writer then pays for a fault in
// every 4 KB: half of the time of an op that is bound by memory. Huge pages cost a sixth of that.
constexpr int64_t kMappedAfresh = int64_t{32} << 20;

// A tensor that nothing has written yet, as it came, if it has more bytes than that.
inline Tensor on_huge_pages(Tensor tensor, int64_t least_bytes = kMappedAfresh) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const int64_t bytes = tensor.numel() * static_cast<int64_t>(tensor.element_size());
  if (bytes > least_bytes) {
    constexpr uintptr_t kPage = 4096;
    const auto begin = reinterpret_cast<uintptr_t>(tensor.data_ptr());
    const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
    const uintptr_t last = (begin + static_cast<uintptr_t>(bytes)) / kPage * kPage;
    if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  }
#endif
  return tensor;
}

// Fills a tensor that nothing has written yet with zeros. Of a large one the system gives pages of
// zeros when they are first touched: what nobody writes costs nothing. Memory that is not this
// process's own would keep its content; then it is filled as usual.
inline Tensor zeroed(Tensor tensor) {
  auto* memory = static_cast<char*>(tensor.data_ptr());
  const int64_t bytes = tensor.numel() * static_cast<int64_t>(tensor.element_size());
#if defined(__linux__)
  if (bytes > kMappedAfresh) {
    constexpr uintptr_t kPage = 4096;
    const auto begin = reinterpret_cast<uintptr_t>(memory);
    char* first = memory + (kPage - begin % kPage) % kPage;
    char* last = memory + bytes - (begin + static_cast<uintptr_t>(bytes)) % kPage;
    *first = 1;
    if (madvise(first, static_cast<size_t>(last - first), MADV_DONTNEED) == 0 && *first == 0) {
      std::memset(memory, 0, static_cast<size_t>(first - memory));
      std::memset(last, 0, static_cast<size_t>(memory + bytes - last));
      return tensor;
    }
  }
#endif
  if (bytes > 0) std::memset(memory, 0, static_cast<size_t>(bytes));
  return tensor;
}

}  // namespace lexforge
