// CUB's device-wide algorithms on the host: same names, same arguments, same two phases.
//
// The first call (null storage) asks for as many bytes as CUB might; the second fills them, so that
// storage which is too small or shared with live data shows.
#pragma once

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include "cuda_emulation.h"

namespace cub {

template <typename T>
struct DoubleBuffer {
  T* d_buffers[2] = {nullptr, nullptr};
  int selector = 0;
  DoubleBuffer() = default;
  DoubleBuffer(T* current, T* alternate) : d_buffers{current, alternate} {}
  T* Current() { return d_buffers[selector]; }
  T* Alternate() { return d_buffers[selector ^ 1]; }
};

namespace emulation {

// True in the second phase; sets `status` when the storage is smaller than was asked for.
inline bool second_phase(void* storage, size_t& bytes, int64_t items, cudaError_t& status) {
  const size_t needed = 256 + static_cast<size_t>(items > 0 ? items : 0);
  status = cudaSuccess;
  if (storage == nullptr) {
    bytes = needed;
    return false;
  }
  if (bytes < needed) {
    status = cudaErrorInvalidValue;
    return false;
  }
  std::memset(storage, 0xFF, bytes);
  return true;
}

// The bits [begin, end) of a key in the order that radix sort gives them.
template <typename Key>
uint64_t radix(Key key, int begin, int end) {
  using Bits = std::conditional_t<
      sizeof(Key) == 8, uint64_t,
      std::conditional_t<sizeof(Key) == 4, uint32_t,
                         std::conditional_t<sizeof(Key) == 2, uint16_t, uint8_t>>>;
  constexpr int kBits = 8 * sizeof(Key);
  constexpr Bits kSign = static_cast<Bits>(Bits{1} << (kBits - 1));
  if constexpr (std::is_floating_point_v<Key>) key += Key(0);  // -0 sorts as +0
  Bits bits;
  std::memcpy(&bits, &key, sizeof bits);
  if constexpr (std::is_floating_point_v<Key>) {
    bits = static_cast<Bits>((bits & kSign) ? ~bits : bits ^ kSign);
  } else if constexpr (std::is_signed_v<Key>) {
    bits ^= kSign;
  }
  const uint64_t upper = end >= 64 ? ~uint64_t{0} : (uint64_t{1} << end) - 1;
  return (bits & upper) >> begin;
}

template <typename Key, typename Value>
void sort(const Key* keys_in, Key* keys_out, const Value* values_in, Value* values_out, int64_t n,
          int begin, int end, bool descending) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const uint64_t x = radix(keys_in[a], begin, end), y = radix(keys_in[b], begin, end);
    return descending ? y < x : x < y;
  });
  for (int64_t i = 0; i < n; ++i) {
    keys_out[i] = keys_in[order[i]];
    if (values_in != nullptr) values_out[i] = values_in[order[i]];
  }
}

}  // namespace emulation

struct DeviceRadixSort {
  template <typename Key, typename Value, typename Count>
  static cudaError_t SortPairs(void* storage, size_t& bytes, const Key* keys_in, Key* keys_out,
                               const Value* values_in, Value* values_out, Count n, int begin = 0,
                               int end = sizeof(Key) * 8, cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      emulation::sort(keys_in, keys_out, values_in, values_out, n, begin, end, false);
    }
    return status;
  }
  template <typename Key, typename Value, typename Count>
  static cudaError_t SortPairsDescending(void* storage, size_t& bytes, const Key* keys_in,
                                         Key* keys_out, const Value* values_in, Value* values_out,
                                         Count n, int begin = 0, int end = sizeof(Key) * 8,
                                         cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      emulation::sort(keys_in, keys_out, values_in, values_out, n, begin, end, true);
    }
    return status;
  }
  // The input buffers are overwritten, and the result is in either of the two.
  template <typename Key, typename Value, typename Count>
  static cudaError_t SortPairs(void* storage, size_t& bytes, DoubleBuffer<Key>& keys,
                               DoubleBuffer<Value>& values, Count n, int begin = 0,
                               int end = sizeof(Key) * 8, cudaStream_t stream = nullptr) {
    const cudaError_t status =
        SortPairs(storage, bytes, keys.Current(), keys.Alternate(), values.Current(),
                  values.Alternate(), n, begin, end, stream);
    if (storage != nullptr && status == cudaSuccess) {
      if (n > 0) std::memset(keys.Current(), 0xFF, n * sizeof(Key));
      if (n > 0) std::memset(values.Current(), 0xFF, n * sizeof(Value));
      keys.selector ^= 1;
      values.selector ^= 1;
    }
    return status;
  }
  template <typename Key, typename Count>
  static cudaError_t SortKeys(void* storage, size_t& bytes, const Key* keys_in, Key* keys_out,
                              Count n, int begin = 0, int end = sizeof(Key) * 8,
                              cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      emulation::sort<Key, char>(keys_in, keys_out, nullptr, nullptr, n, begin, end, false);
    }
    return status;
  }
  template <typename Key, typename Count>
  static cudaError_t SortKeys(void* storage, size_t& bytes, DoubleBuffer<Key>& keys, Count n,
                              int begin = 0, int end = sizeof(Key) * 8,
                              cudaStream_t stream = nullptr) {
    const cudaError_t status =
        SortKeys(storage, bytes, keys.Current(), keys.Alternate(), n, begin, end, stream);
    if (storage != nullptr && status == cudaSuccess) {
      if (n > 0) std::memset(keys.Current(), 0xFF, n * sizeof(Key));
      keys.selector ^= 1;
    }
    return status;
  }
};

struct DeviceScan {
  template <typename In, typename Out, typename Count>
  static cudaError_t ExclusiveSum(void* storage, size_t& bytes, In in, Out out, Count n,
                                  cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      typename std::iterator_traits<In>::value_type sum{};
      for (Count i = 0; i < n; ++i) {  // in and out may be the same
        const auto value = in[i];
        out[i] = sum;
        sum += value;
      }
    }
    return status;
  }
  template <typename In, typename Out, typename Count>
  static cudaError_t InclusiveSum(void* storage, size_t& bytes, In in, Out out, Count n,
                                  cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      typename std::iterator_traits<In>::value_type sum{};
      for (Count i = 0; i < n; ++i) out[i] = sum += in[i];
    }
    return status;
  }
};

struct DeviceReduce {
  template <typename In, typename Out, typename Count, typename Operation, typename T>
  static cudaError_t Reduce(void* storage, size_t& bytes, In in, Out out, Count n,
                            Operation operation, T initial, cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      T result = initial;
      for (Count i = 0; i < n; ++i) result = operation(result, in[i]);
      *out = result;
    }
    return status;
  }
  template <typename In, typename Out, typename Count>
  static cudaError_t Sum(void* storage, size_t& bytes, In in, Out out, Count n,
                         cudaStream_t stream = nullptr) {
    using T = typename std::iterator_traits<In>::value_type;
    return Reduce(storage, bytes, in, out, n, [](T a, T b) { return a + b; }, T{}, stream);
  }
  template <typename In, typename Out, typename Count>
  static cudaError_t Max(void* storage, size_t& bytes, In in, Out out, Count n,
                         cudaStream_t stream = nullptr) {
    using T = typename std::iterator_traits<In>::value_type;
    return Reduce(
        storage, bytes, in, out, n, [](T a, T b) { return std::max(a, b); },
        std::numeric_limits<T>::lowest(), stream);
  }
  template <typename In, typename Out, typename Count>
  static cudaError_t Min(void* storage, size_t& bytes, In in, Out out, Count n,
                         cudaStream_t stream = nullptr) {
    using T = typename std::iterator_traits<In>::value_type;
    return Reduce(
        storage, bytes, in, out, n, [](T a, T b) { return std::min(a, b); },
        std::numeric_limits<T>::max(), stream);
  }
  // One sum per run of equal keys.
  template <typename KeyIn, typename KeyOut, typename In, typename Out, typename Runs,
            typename Operation, typename Count>
  static cudaError_t ReduceByKey(void* storage, size_t& bytes, KeyIn keys_in, KeyOut unique_out,
                                 In values_in, Out values_out, Runs runs_out, Operation operation,
                                 Count n, cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      Count runs = 0;
      for (Count i = 0; i < n; ++i) {
        if (i > 0 && keys_in[i] == keys_in[i - 1]) {
          values_out[runs - 1] = operation(values_out[runs - 1], values_in[i]);
        } else {
          unique_out[runs] = keys_in[i];
          values_out[runs++] = values_in[i];
        }
      }
      *runs_out = static_cast<std::remove_reference_t<decltype(*runs_out)>>(runs);
    }
    return status;
  }
};

struct DeviceRunLengthEncode {
  template <typename In, typename Unique, typename Lengths, typename Runs, typename Count>
  static cudaError_t Encode(void* storage, size_t& bytes, In in, Unique unique_out,
                            Lengths lengths_out, Runs runs_out, Count n, cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      Count runs = 0;
      for (Count i = 0; i < n; ++i) {
        if (i > 0 && in[i] == in[i - 1]) {
          ++lengths_out[runs - 1];
        } else {
          unique_out[runs] = in[i];
          lengths_out[runs++] = 1;
        }
      }
      *runs_out = static_cast<std::remove_reference_t<decltype(*runs_out)>>(runs);
    }
    return status;
  }
};

struct DeviceSelect {
  template <typename In, typename Flags, typename Out, typename Selected, typename Count>
  static cudaError_t Flagged(void* storage, size_t& bytes, In in, Flags flags, Out out,
                             Selected selected_out, Count n, cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      Count selected = 0;
      for (Count i = 0; i < n; ++i) {
        if (flags[i]) out[selected++] = in[i];
      }
      *selected_out = static_cast<std::remove_reference_t<decltype(*selected_out)>>(selected);
    }
    return status;
  }
  template <typename In, typename Out, typename Selected, typename Count, typename Predicate>
  static cudaError_t If(void* storage, size_t& bytes, In in, Out out, Selected selected_out,
                        Count n, Predicate predicate, cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      Count selected = 0;
      for (Count i = 0; i < n; ++i) {
        if (predicate(in[i])) out[selected++] = in[i];
      }
      *selected_out = static_cast<std::remove_reference_t<decltype(*selected_out)>>(selected);
    }
    return status;
  }
  template <typename In, typename Out, typename Selected, typename Count>
  static cudaError_t Unique(void* storage, size_t& bytes, In in, Out out, Selected selected_out,
                            Count n, cudaStream_t = nullptr) {
    cudaError_t status;
    if (emulation::second_phase(storage, bytes, n, status)) {
      const Count selected = static_cast<Count>(std::unique_copy(in, in + n, out) - out);
      *selected_out = static_cast<std::remove_reference_t<decltype(*selected_out)>>(selected);
    }
    return status;
  }
};

}  // namespace cub
