// CPU binding of sampling.h.
#include "common/cpu_binding.h"
#include "sampling/sampling_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kDrawsPerTask = 1 << 15;  // about 0.1 ms of work
constexpr int64_t kRowsPerTask = 256;

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  void build(const Checks& check, const Tensor& like, const scalar_t* weights,
             AliasEntry* table) const {
    check.that(build_alias_cpu(weights, like.size(0), table),
               "weights must be finite, not negative and not all zero");
  }

  template <typename index_t>
  void run(const AliasSampleParams& params, int64_t count, index_t* out) const {
    auto* kernel = LEXFORGE_CHOOSE(alias_sample<index_t>);
    parallel_for(0, count, kDrawsPerTask,
                 [&](int64_t first, int64_t last) { kernel(params, first, last, out); });
  }

  void check_offsets(const Checks& check, const SampleNoiseParams& params) const {
    const int64_t* offsets = params.offsets;
    check.that(offsets[0] == 0 && offsets[params.rows] == params.count,
               "offsets must go from 0 to ", params.count, ", got ", offsets[0], " to ",
               offsets[params.rows]);
    for (int64_t row = 0; row < params.rows; ++row) {
      const int64_t count = offsets[row + 1] - offsets[row];
      check.that(count >= 0, "offsets must ascend, got ", offsets[row], " before ",
                 offsets[row + 1]);
      check.that(params.negatives * count <= kMaxNoisePerRow,
                 "a row must have at most 2^20 draws, got ", params.negatives * count);
    }
  }

  void run(const SampleNoiseParams& params) const {
    auto* kernel = LEXFORGE_CHOOSE(sample_noise);
    parallel_for(0, params.rows, kRowsPerTask,
                 [&](int64_t first, int64_t last) { kernel(params, first, last); });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("build_alias", TORCH_BOX(&lexforge::build_alias<lexforge::Cpu>));
  m.impl("alias_sample", TORCH_BOX(&lexforge::alias_sample<lexforge::Cpu>));
  m.impl("sample_noise", TORCH_BOX(&lexforge::sample_noise<lexforge::Cpu>));
}
