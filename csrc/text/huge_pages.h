// An allocator for large arrays that are read in no order: fewer, larger pages for them.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdint>
#include <new>

namespace lexforge::text {

inline constexpr size_t kHugePage = 1 << 21;

// A hint, which the system may refuse, for the whole pages within.
inline void ask_for_huge_pages([[maybe_unused]] void* begin, [[maybe_unused]] size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const auto at = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first = (at + kHugePage - 1) & ~(kHugePage - 1);
  const uintptr_t last = (at + size) & ~(kHugePage - 1);
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

template <typename T>
struct HugePages {
  using value_type = T;

  HugePages() = default;
  template <typename U>
  HugePages(const HugePages<U>&) {}

  T* allocate(size_t count) {
    const size_t size = count * sizeof(T);
    if (size < kHugePage) return static_cast<T*>(::operator new(size, kAlignment));
    void* at = ::operator new(size, std::align_val_t{kHugePage});
    ask_for_huge_pages(at, size);
    return static_cast<T*>(at);
  }
  void deallocate(T* at, size_t count) {
    if (count * sizeof(T) < kHugePage) return ::operator delete(at, kAlignment);
    ::operator delete(at, std::align_val_t{kHugePage});
  }
  template <typename U>
  bool operator==(const HugePages<U>&) const {
    return true;
  }

 private:
  static constexpr std::align_val_t kAlignment{alignof(T)};
};

}  // namespace lexforge::text
