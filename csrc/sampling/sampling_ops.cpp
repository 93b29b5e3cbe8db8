#include "common/cpu_capability.h"
#include "sampling/sampling_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kDrawsPerTask = 1 << 15;  // about 0.1 ms of work
constexpr int64_t kRowsPerTask = 256;

Tensor build_alias(const Tensor& weights) {
  check_weights(weights);
  const int64_t size = weights.size(0);
  Tensor table = torch::stable::new_empty(weights, {size, 2}, ScalarType::Int);
  const bool built = weights.scalar_type() == ScalarType::Double
                         ? build_alias_cpu(data<double>(weights), size, data<AliasEntry>(table))
                         : build_alias_cpu(data<float>(weights), size, data<AliasEntry>(table));
  STD_TORCH_CHECK(built, "build_alias: weights must be finite, not negative and not all zero");
  return table;
}

template <typename index_t>
void sample_into(const AliasSampleParams& params, int64_t count, index_t* out) {
  const auto kernel = choose(baseline::alias_sample<index_t>, avx2::alias_sample<index_t>,
                             avx512::alias_sample<index_t>);
  torch::stable::parallel_for(0, count, kDrawsPerTask,
                              [&](int64_t begin, int64_t end) { kernel(params, begin, end, out); });
}

Tensor alias_sample(const Tensor& table, int64_t count, int64_t seed, int64_t offset,
                    ScalarType dtype) {
  const AliasSampleParams params = alias_sample_params(table, count, seed, offset, dtype);
  Tensor out = torch::stable::new_empty(table, {count}, dtype);
  if (dtype == ScalarType::Int) {
    sample_into(params, count, data<int32_t>(out));
  } else {
    sample_into(params, count, data<int64_t>(out));
  }
  return out;
}

void check_offsets(const SampleNoiseParams& params) {
  STD_TORCH_CHECK(params.offsets[0] == 0 && params.offsets[params.rows] == params.count,
                  "sample_noise: offsets must go from 0 to ", params.count, ", got ",
                  params.offsets[0], " to ", params.offsets[params.rows]);
  for (int64_t row = 0; row < params.rows; ++row) {
    const int64_t count = params.offsets[row + 1] - params.offsets[row];
    STD_TORCH_CHECK(count >= 0, "sample_noise: offsets must ascend, got ", params.offsets[row],
                    " before ", params.offsets[row + 1]);
    STD_TORCH_CHECK(params.negatives * count <= kMaxNoisePerRow,
                    "sample_noise: a row must have at most 2^20 draws, got ",
                    params.negatives * count);
  }
}

Tensor sample_noise(const Tensor& table, const Tensor& positives, const Tensor& offsets,
                    const std::optional<Tensor>& positions, int64_t first_position,
                    int64_t negatives, int64_t seed, int64_t epoch) {
  SampleNoiseParams params = sample_noise_params(table, positives, offsets, positions,
                                                 first_position, negatives, seed, epoch);
  check_offsets(params);
  Tensor noise = torch::stable::new_empty(positives, {negatives * params.count});
  params.noise = data<int32_t>(noise);
  const auto kernel = choose(baseline::sample_noise, avx2::sample_noise, avx512::sample_noise);
  torch::stable::parallel_for(0, params.rows, kRowsPerTask,
                              [&](int64_t begin, int64_t end) { kernel(params, begin, end); });
  return noise;
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("build_alias", TORCH_BOX(&lexforge::build_alias));
  m.impl("alias_sample", TORCH_BOX(&lexforge::alias_sample));
  m.impl("sample_noise", TORCH_BOX(&lexforge::sample_noise));
}
