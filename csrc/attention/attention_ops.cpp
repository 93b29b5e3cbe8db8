// CPU binding of attention.h.
#include <numeric>

#include "attention/attention_binding.h"
#include "attention/attention_cpu.h"
#include "common/cpu_binding.h"

namespace lexforge {
namespace {

// Runs head(task, next task, workspace) for every head of every sequence, longest sequences first.
// Threads take the next one when they are done; which thread takes which changes nothing.
template <typename Head>
void for_each_head(const AttentionShape& shape, int64_t bytes, const Head& head) {
  std::vector<int64_t> order(shape.sequences);
  std::iota(order.begin(), order.end(), 0);
  if (shape.cu_seqlens != nullptr) {
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return attention_span(shape, a).length > attention_span(shape, b).length;
    });
  }
  const int64_t tasks = shape.sequences * shape.heads;
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(tasks, torch::stable::get_num_threads());
  parallel_with_scratch("attention", threads, 1, bytes, [&](int64_t, int64_t, void* workspace) {
    const auto take = [&]() -> AttentionTask {
      const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks) return {-1, -1};
      return {order[task / shape.heads], task % shape.heads};
    };
    for (AttentionTask task = take(), following; task.sequence >= 0; task = following) {
      following = take();
      head(task, following, workspace);
    }
  });
}

int64_t longest(const AttentionShape& shape) {
  int64_t length = 0;
  for (int64_t b = 0; b < shape.sequences; ++b) {
    length = std::max(length, attention_span(shape, b).length);
  }
  return length;
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  // What the kernels assume of cu_seqlens and valid_lens.
  static void check_lengths(const Checks& check, const AttentionShape& shape) {
    if (const int32_t* cu = shape.cu_seqlens) {
      check_packed(check, {"cu_seqlens", "max_seqlen", "T"}, cu, shape.sequences, shape.tokens,
                   shape.max_length);
    }
    if (const int32_t* valid = shape.valid_lens) {
      const int64_t count = shape.valid_per_query ? shape.tokens : shape.sequences;
      for (int64_t i = 0; i < count; ++i) {
        check.that(0 <= valid[i] && valid[i] <= shape.max_length,
                   "valid_lens must be 0 to S = ", shape.max_length, ", got ", valid[i]);
      }
    }
  }

  template <typename scalar_t, typename stat_t>
  void run(const AttentionParams<scalar_t, stat_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE_BF16(scalar_t, attention_head<scalar_t, stat_t>);
    auto* bytes = LEXFORGE_CHOOSE_BF16(scalar_t, attention_workspace<scalar_t, stat_t>);
    for_each_head(params.shape, bytes(longest(params.shape), params.shape.dim),
                  [&](AttentionTask task, AttentionTask next, void* workspace) {
                    kernel(params, task, next, workspace);
                  });
  }

  template <typename scalar_t, typename stat_t>
  void run(const AttentionBackwardParams<scalar_t, stat_t>& params, const Tensor&) const {
    auto* kernel = LEXFORGE_CHOOSE_BF16(scalar_t, attention_backward_head<scalar_t, stat_t>);
    auto* bytes = LEXFORGE_CHOOSE_BF16(scalar_t, attention_backward_workspace<scalar_t, stat_t>);
    for_each_head(params.shape, bytes(longest(params.shape), params.shape.dim),
                  [&](AttentionTask task, AttentionTask next, void* workspace) {
                    kernel(params, task, next, workspace);
                  });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("attention", TORCH_BOX(&lexforge::attention<lexforge::Cpu>));
  m.impl("attention_backward", TORCH_BOX(&lexforge::attention_backward<lexforge::Cpu>));
}
