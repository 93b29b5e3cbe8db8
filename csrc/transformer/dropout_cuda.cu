#include <algorithm>
#include <cstdint>

#include "transformer/dropout.h"
#include "transformer/row_octets.cuh"

namespace lexforge {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = int64_t{1} << 20;

// A thread has eight neighbours at a time, which share a quad of Philox. Bound by memory.
template <bool kWhole, typename scalar_t>
__global__ void __launch_bounds__(kThreads) dropout_kernel(DropoutParams<scalar_t> params) {
  using stat_t = decltype(number(scalar_t()));
  const auto scale = static_cast<stat_t>(params.dropout.scale);
  const int64_t step = int64_t{gridDim.x} * kThreads * kOctet;
  for (int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kOctet;
       first < params.count; first += step) {
    const uint32_t kept = keep_octet(params.dropout, first, RandomStream::kDropout);
    if constexpr (kWhole) {
      float values[kOctet];
      load_octet(params.x + first, values);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) values[i] = kept >> i & 1 ? values[i] * scale : 0.0f;
      store_octet(params.out + first, values);
    } else {
      for (int i = 0; i < kOctet && first + i < params.count; ++i) {
        const stat_t value = kept >> i & 1 ? number(params.x[first + i]) * scale : stat_t(0);
        store_number(params.out + first + i, value);
      }
    }
  }
}

}  // namespace

template <typename scalar_t>
void launch_dropout(const DropoutParams<scalar_t>& params, void* stream) {
  if (params.count == 0) return;
  const int64_t per_block = int64_t{kThreads} * kOctet;
  const auto blocks =
      static_cast<uint32_t>(std::min(kMaxBlocks, (params.count + per_block - 1) / per_block));
  const auto start = [&](auto kernel) {
    launch(kernel, dim3(blocks), dim3(kThreads), 0, static_cast<cudaStream_t>(stream), params);
  };
  if constexpr (sizeof(scalar_t) != sizeof(double)) {
    if (whole_octets(params.count, params.x, params.out)) {
      return start(dropout_kernel<true, scalar_t>);
    }
  }
  start(dropout_kernel<false, scalar_t>);
}

#define LEXFORGE_INSTANTIATE(scalar_t) \
  template void launch_dropout(const DropoutParams<scalar_t>&, void*);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
LEXFORGE_INSTANTIATE(Bfloat16)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
