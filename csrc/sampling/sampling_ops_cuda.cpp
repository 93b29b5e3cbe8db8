#include "common/cuda_binding.h"
#include "sampling/sampling_binding.h"

namespace lexforge {
namespace {

// The values of the weights are looked at by the Python wrapper only; whatever they are, the
// kernels stay inside their arrays.
Tensor build_alias(const Tensor& weights) {
  check_weights(weights);
  const CudaCall call(weights);
  const int64_t size = weights.size(0);
  Tensor shares =
      torch::stable::new_empty(weights, {build_alias_scratch_shares(size)}, ScalarType::Long);
  Tensor order =
      torch::stable::new_empty(weights, {build_alias_scratch_order(size)}, ScalarType::Int);
  Tensor table = torch::stable::new_empty(weights, {size, 2}, ScalarType::Int);
  if (weights.scalar_type() == ScalarType::Double) {
    launch_build_alias(data<double>(weights), size, data<uint64_t>(shares), data<int32_t>(order),
                       data<AliasEntry>(table), call.stream());
  } else {
    launch_build_alias(data<float>(weights), size, data<uint64_t>(shares), data<int32_t>(order),
                       data<AliasEntry>(table), call.stream());
  }
  return table;
}

Tensor alias_sample(const Tensor& table, int64_t count, int64_t seed, int64_t offset,
                    ScalarType dtype) {
  const AliasSampleParams params = alias_sample_params(table, count, seed, offset, dtype);
  const CudaCall call(table);
  Tensor out = torch::stable::new_empty(table, {count}, dtype);
  if (dtype == ScalarType::Int) {
    launch_alias_sample(params, count, data<int32_t>(out), call.stream());
  } else {
    launch_alias_sample(params, count, data<int64_t>(out), call.stream());
  }
  return out;
}

Tensor sample_noise(const Tensor& table, const Tensor& positives, const Tensor& offsets,
                    const std::optional<Tensor>& positions, int64_t first_position,
                    int64_t negatives, int64_t seed, int64_t epoch) {
  SampleNoiseParams params = sample_noise_params(table, positives, offsets, positions,
                                                 first_position, negatives, seed, epoch);
  const CudaCall call(table);
  Tensor noise = torch::stable::new_empty(positives, {negatives * params.count});
  params.noise = data<int32_t>(noise);
  launch_sample_noise(params, call.stream());
  return noise;
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("build_alias", TORCH_BOX(&lexforge::build_alias));
  m.impl("alias_sample", TORCH_BOX(&lexforge::alias_sample));
  m.impl("sample_noise", TORCH_BOX(&lexforge::sample_noise));
}
