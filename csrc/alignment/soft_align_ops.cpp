// CPU binding of soft_align.h.
#include "alignment/soft_align_binding.h"
#include "common/cpu_binding.h"

namespace lexforge {
namespace {

// Runs the kernel for every pair. Threads take the next one when they are done; which thread takes
// which changes nothing.
template <typename Params>
void for_each_pair(const Params& params,
                   int64_t (*workspace)(const SoftAlignShape&, int64_t, int64_t),
                   void (*kernel)(const Params&, int64_t, void*)) {
  const SoftAlignShape& shape = params.shape;
  int64_t longest_a = 0, longest_b = 0;
  for (int64_t n = 0; n < shape.pairs; ++n) {
    longest_a = std::max(longest_a, first_text(shape, n).length);
    longest_b = std::max(longest_b, second_text(shape, n).length);
  }
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(shape.pairs, torch::stable::get_num_threads());
  parallel_with_scratch("soft_align", threads, 1, workspace(shape, longest_a, longest_b),
                        [&](int64_t, int64_t, void* memory) {
                          int64_t n;
                          while ((n = next.fetch_add(1, std::memory_order_relaxed)) < shape.pairs) {
                            kernel(params, n, memory);
                          }
                        });
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  // What the kernels assume of cu_a and cu_b.
  static void check_lengths(const Checks& check, const SoftAlignShape& shape) {
    check_packed(check, {"cu_a", "max_a", "Ta"}, shape.cu_a, shape.pairs, shape.tokens_a,
                 shape.max_a);
    check_packed(check, {"cu_b", "max_b", "Tb"}, shape.cu_b, shape.pairs, shape.tokens_b,
                 shape.max_b);
  }

  template <typename scalar_t, typename stat_t>
  void run(const SoftAlignParams<scalar_t, stat_t>& params) const {
    for_each_pair(params, LEXFORGE_CHOOSE(soft_align_workspace<scalar_t, stat_t>),
                  LEXFORGE_CHOOSE(soft_align_pair<scalar_t, stat_t>));
  }

  template <typename scalar_t, typename stat_t>
  void run(const SoftAlignBackwardParams<scalar_t, stat_t>& params) const {
    for_each_pair(params, LEXFORGE_CHOOSE(soft_align_backward_workspace<scalar_t, stat_t>),
                  LEXFORGE_CHOOSE(soft_align_backward_pair<scalar_t, stat_t>));
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("soft_align", TORCH_BOX(&lexforge::soft_align<lexforge::Cpu>));
  m.impl("soft_align_backward", TORCH_BOX(&lexforge::soft_align_backward<lexforge::Cpu>));
}
