// Numbers below the smallest normal one as 0, which a processor otherwise computes with a hundred
// times as slowly. Around calls of kernels, not in them: the compiler may move arithmetic across.
#pragma once

namespace lexforge {

// For the calling thread, while it lives; without SSE, nothing.
class FlushDenormals {
 public:
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
#ifdef __SSE__
  FlushDenormals() : before_(__builtin_ia32_stmxcsr()) {
    __builtin_ia32_ldmxcsr(before_ | kResults | kOperands);
  }
  ~FlushDenormals() { __builtin_ia32_ldmxcsr(before_); }

 private:
  static constexpr unsigned kResults = 1u << 15, kOperands = 1u << 6;
  unsigned before_;
#else
  FlushDenormals() {}
  ~FlushDenormals() {}
#endif
};

}  // namespace lexforge
