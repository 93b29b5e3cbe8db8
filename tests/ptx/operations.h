// Operations on one lane's values that arithmetic, atomics and reductions share.
#pragma once

#define PTX_UNARY(name, ...) \
  struct name {              \
    template <typename T>    \
    static T apply(T a) {    \
      return T(__VA_ARGS__); \
    }                        \
  };
#define PTX_BINARY(name, ...)  \
  struct name {                \
    template <typename T>      \
    static T apply(T a, T b) { \
      return T(__VA_ARGS__);   \
    }                          \
  };

namespace ptx {

PTX_BINARY(Add, a + b)
PTX_BINARY(Min, a < b ? a : b)
PTX_BINARY(Max, a > b ? a : b)
PTX_BINARY(And, a& b)
PTX_BINARY(Or, a | b)
PTX_BINARY(Xor, a ^ b)

}  // namespace ptx
