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

// A hint, which the system may refuse, for the whole pages within, as far as nothing is there yet:
// small pages that are there stay.
inline void ask_for_huge_pages([[maybe_unused]] void* begin, [[maybe_unused]] size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const auto at = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first = (at + kHugePage - 1) & ~(kHugePage - 1);
  const uintptr_t last = (at + size) & ~(kHugePage - 1);
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

// From one huge page on, pages of the system's own: those of the C library may have been in use, and
// be small for good.
template <typename T>
struct HugePages {
  using value_type = T;

  HugePages() = default;
  template <typename U>
  HugePages(const HugePages<U>&) {}

  T* allocate(size_t count) {
    const size_t size = count * sizeof(T);
#ifdef __linux__
    if (size >= kHugePage) {
      // With room to begin with a huge page; what is before that and behind the end goes back.
      const size_t whole = mapped(size), asked = whole + kHugePage;
      void* const found =
          mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (found == MAP_FAILED) throw std::bad_alloc();
      auto* const from = static_cast<char*>(found);
      const size_t before = -reinterpret_cast<uintptr_t>(from) & (kHugePage - 1);
      if (before > 0) munmap(from, before);
      munmap(from + before + whole, kHugePage - before);
      ask_for_huge_pages(from + before, whole);
      return reinterpret_cast<T*>(from + before);
    }
#endif
    return static_cast<T*>(::operator new(size, kAlignment));
  }
  void deallocate(T* at, [[maybe_unused]] size_t count) {
#ifdef __linux__
    if (const size_t size = count * sizeof(T); size >= kHugePage) {
      munmap(static_cast<void*>(at), mapped(size));
      return;
    }
#endif
    ::operator delete(at, kAlignment);
  }
  template <typename U>
  bool operator==(const HugePages<U>&) const {
    return true;
  }

 private:
  static constexpr std::align_val_t kAlignment{alignof(T)};
  // In whole pages of any system's usual size.
  static size_t mapped(size_t size) { return (size + 0xFFFF) & ~size_t{0xFFFF}; }
};

}  // namespace lexforge::text
