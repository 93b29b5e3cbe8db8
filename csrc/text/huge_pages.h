// An allocator for large arrays that are read in no order: fewer, larger pages for them.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstddef>
#include <new>

namespace lexforge::text {

template <typename T>
struct HugePages {
  using value_type = T;

  HugePages() = default;
  template <typename U>
  HugePages(const HugePages<U>&) {}

  T* allocate(size_t count) {
    const size_t size = count * sizeof(T);
    if (size < kPage) return static_cast<T*>(::operator new(size, kAlignment));
    void* at = ::operator new(size, std::align_val_t{kPage});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    madvise(at, size, MADV_HUGEPAGE);  // a hint, which the system may refuse
#endif
    return static_cast<T*>(at);
  }
  void deallocate(T* at, size_t count) {
    if (count * sizeof(T) < kPage) return ::operator delete(at, kAlignment);
    ::operator delete(at, std::align_val_t{kPage});
  }
  template <typename U>
  bool operator==(const HugePages<U>&) const {
    return true;
  }

 private:
  static constexpr size_t kPage = 1 << 21;
  static constexpr std::align_val_t kAlignment{alignof(T)};
};

}  // namespace lexforge::text
