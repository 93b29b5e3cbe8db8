// Memory that kernels work in: one block for a thread or a call, and arrays carved from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace lexforge {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// A block that starts at a 64-byte boundary and goes with its owner; null where there is no memory.
using Scratch = std::unique_ptr<void, Free>;

inline Scratch new_scratch(int64_t bytes) {
  return Scratch(std::aligned_alloc(64, static_cast<size_t>(bytes) / 64 * 64 + 64));
}

// Hands out arrays at 64-byte boundaries. Over a null block it only adds up their size.
class Carver {
 public:
  explicit Carver(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <typename T>
  T* take(int64_t count) {
    T* taken = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return taken;
  }
  int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

}  // namespace lexforge
