// CUB's algorithms as the project uses them: test_cub.py compares their results with NumPy.
#include <exception>
#include <string>

#include "common/cub.cuh"
#include "common/cuda_launch.cuh"

namespace {

using lexforge::check_cuda;

struct IsOdd {
  __host__ __device__ bool operator()(int x) const { return x % 2 != 0; }
};

struct Larger {
  __host__ __device__ int operator()(int a, int b) const { return a < b ? b : a; }
};

// Both phases of one algorithm; returns null, or the message of its error.
template <typename Algorithm>
const char* both_phases(Algorithm algorithm) {
  static std::string message;
  try {
    size_t bytes = 0;
    void* storage = nullptr;
    check_cuda(algorithm(nullptr, bytes), "query");
    check_cuda(cudaMalloc(&storage, bytes), "storage");
    const cudaError_t status = algorithm(storage, bytes);
    check_cuda(cudaFree(storage), "free");
    check_cuda(status, "run");
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

}  // namespace

#define ENTRY extern "C" __attribute__((visibility("default"))) const char*

ENTRY sort_pairs(const float* keys, float* keys_out, const int* values, int* values_out, int n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(storage, bytes, keys, keys_out, values, values_out, n);
  });
}
ENTRY sort_pairs_descending(const int* keys, int* keys_out, const int* values, int* values_out,
                            int n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairsDescending(storage, bytes, keys, keys_out, values,
                                                     values_out, n);
  });
}
ENTRY sort_keys_by_bits(const uint64_t* keys, uint64_t* keys_out, int64_t n, int begin, int end) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceRadixSort::SortKeys(storage, bytes, keys, keys_out, n, begin, end);
  });
}
// The sorted pairs are in buffer 0 or 1 of each array: `selected` tells which.
ENTRY sort_buffers(int* keys, int* other_keys, int* values, int* other_values, int n,
                   int* selected) {
  cub::DoubleBuffer<int> key_buffers(keys, other_keys), value_buffers(values, other_values);
  const char* error = both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(storage, bytes, key_buffers, value_buffers, n);
  });
  selected[0] = key_buffers.selector;
  selected[1] = value_buffers.selector;
  return error;
}
ENTRY exclusive_sum(const int* in, int* out, int64_t n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceScan::ExclusiveSum(storage, bytes, in, out, n);
  });
}
ENTRY inclusive_sum(const int* in, int* out, int64_t n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceScan::InclusiveSum(storage, bytes, in, out, n);
  });
}
ENTRY encode(const int* in, int* unique, int* lengths, int* runs, int n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceRunLengthEncode::Encode(storage, bytes, in, unique, lengths, runs, n);
  });
}
ENTRY reduce_by_key(const int* keys, int* unique, const int* values, int* largest, int* runs,
                    int n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceReduce::ReduceByKey(storage, bytes, keys, unique, values, largest, runs,
                                          Larger(), n);
  });
}
ENTRY sum_min_max(const int* in, int* out, int n) {
  const char* error = both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceReduce::Sum(storage, bytes, in, out, n);
  });
  if (error != nullptr) return error;
  error = both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceReduce::Min(storage, bytes, in, out + 1, n);
  });
  if (error != nullptr) return error;
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceReduce::Max(storage, bytes, in, out + 2, n);
  });
}
ENTRY select_odd(const int* in, int* out, int* count, int n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceSelect::If(storage, bytes, in, out, count, n, IsOdd());
  });
}
ENTRY select_flagged(const int* in, const uint8_t* flags, int* out, int* count, int n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceSelect::Flagged(storage, bytes, in, flags, out, count, n);
  });
}
ENTRY select_unique(const int* in, int* out, int* count, int n) {
  return both_phases([&](void* storage, size_t& bytes) {
    return cub::DeviceSelect::Unique(storage, bytes, in, out, count, n);
  });
}
ENTRY too_little_storage(const int* in, int* out, int n) {
  return both_phases([&](void* storage, size_t& bytes) {
    size_t fewer = storage == nullptr ? bytes : 1;
    const cudaError_t status = cub::DeviceScan::ExclusiveSum(storage, fewer, in, out, n);
    bytes = fewer;
    return status;
  });
}
