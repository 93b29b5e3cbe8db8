// CPU binding of conv_max_pool.h.
#include <algorithm>
#include <array>
#include <type_traits>

#include "common/cpu_binding.h"
#include "common/row_groups.h"
#include "convolution/conv_max_pool_binding.h"

namespace lexforge {
namespace {

// Products that are in memory at a time: more would only leave the caches before they are summed.
constexpr int64_t kProductBytes = 1 << 23;
constexpr int64_t kLeastChannels = 64;
constexpr int64_t kTokensPerTask = 64;
constexpr int64_t kPicksPerTask = 8192;
// Of a product of bfloat16, for which the library prepares code anew for every size.
constexpr int64_t kProductRows = 1024;

// result [M, N] = a [M, K] b [K, N], by torch. Not matmul: under autocast it would round.
void product(const Tensor& a, const Tensor& b, const Tensor& result) {
  std::array<StableIValue, 3> stack{torch::stable::detail::from(a), torch::stable::detail::from(b),
                                    torch::stable::detail::from(result)};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t, typename stat_t>
  void run(const ConvMaxPoolParams<scalar_t, stat_t>& params, const Tensor& x,
           const Tensor& weight) const {
    auto* kernel = LEXFORGE_CHOOSE(conv_max_pool<scalar_t, stat_t>);
    const ConvTexts& texts = params.texts;
    const int64_t taps = params.taps, dim = params.dim;
    const int64_t channel_bytes =
        std::max<int64_t>(1, params.rows * taps * static_cast<int64_t>(sizeof(scalar_t)));
    const int64_t most = std::min(
        params.channels,
        std::max(kLeastChannels, kProductBytes / channel_bytes / kLeastChannels * kLeastChannels));
    const int64_t block =
        std::is_same_v<scalar_t, Bfloat16> ? std::min(kProductRows, params.rows) : params.rows;
    Tensor memory = large(new_empty(x, {params.rows * taps * most}));
    for (int64_t first = 0; first < params.channels; first += most) {
      const int64_t channels = std::min(most, params.channels - first);
      Tensor filters = weight, all = weight;
      filters = torch::stable::reshape(torch::stable::narrow(all, 1, first, channels),
                                       {taps * channels, dim});
      const Tensor products =
          torch::stable::view(torch::stable::narrow(memory, 0, 0, params.rows * taps * channels),
                              {params.rows, taps * channels});
      const Tensor transposed = torch::stable::transpose(filters, 0, 1);
      for (int64_t row = 0; row < params.rows; row += block) {
        // The last block is as large as the others: some of its rows are there already.
        const int64_t at = std::min(row, params.rows - block);
        Tensor from = x, to = products;
        product(torch::stable::narrow(from, 0, at, block), transposed,
                torch::stable::narrow(to, 0, at, block));
      }
      const ConvMaxPoolPart<scalar_t, stat_t> part{data<const scalar_t>(products), first, channels};
      // A text costs its positions.
      parallel_for(0, group_cost(texts.cu_seqlens, texts.count, taps), kTokensPerTask,
                   [&](int64_t first_cost, int64_t last_cost) {
                     kernel(params, part, group_at(texts.cu_seqlens, texts.count, taps, first_cost),
                            group_at(texts.cu_seqlens, texts.count, taps, last_cost));
                   });
    }
  }

  template <typename stat_t>
  void run(const ConvPicksParams<stat_t>& params) const {
    parallel_for(0, params.taps * params.channels * params.texts.count, kPicksPerTask,
                 [&](int64_t first, int64_t last) {
                   for (int64_t i = first; i < last; ++i) conv_pick(params, i);
                 });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  using namespace lexforge;
  m.impl("conv_max_pool", TORCH_BOX(&conv_max_pool<Cpu>));
  m.impl("conv_max_pool_picks", TORCH_BOX(&conv_max_pool_picks<Cpu>));
}
