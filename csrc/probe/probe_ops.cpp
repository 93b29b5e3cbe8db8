#include "common/cpu_binding.h"
#include "probe/probe.h"

namespace lexforge {
namespace {

Tensor philox_quads(const Tensor& counters, int64_t seed) {
  Checks("_philox", "counters", counters)
      .tensor("counters", counters, ScalarType::Int, {Checks::kAny, 4});
  Tensor out = torch::stable::empty_like(counters);
  LEXFORGE_CHOOSE(probe_philox)
  (data<uint32_t>(counters), static_cast<uint64_t>(seed), counters.size(0), data<uint32_t>(out));
  return out;
}

Tensor philox_run(const Tensor& like, int64_t seed, int64_t epoch, int64_t position, int64_t stream,
                  int64_t slot, int64_t count, bool along_slots) {
  Tensor out = new_empty(like, {count, 4}, ScalarType::Int);
  LEXFORGE_CHOOSE(probe_philox_run)
  (philox_run_of(seed, epoch, position, stream, slot, along_slots), count, data<uint32_t>(out));
  return out;
}

Tensor numerics(const Tensor& x) {
  const Checks check("_numerics", "x", x);
  check.tensor("x", x, x.scalar_type(), {Checks::kAny});
  const int64_t n = x.size(0);
  Tensor out = new_empty(x, {4, n});
  for_types<float, double>(check.op, "x", x.scalar_type(), [&]<typename scalar_t>() {
    if constexpr (std::is_same_v<scalar_t, float>) {
      LEXFORGE_CHOOSE(probe_numerics_float)(data<float>(x), n, data<float>(out));
    } else {
      LEXFORGE_CHOOSE(probe_numerics_double)(data<double>(x), n, data<double>(out));
    }
  });
  return out;
}

int64_t philox_xor(int64_t seed, int64_t count) {
  return LEXFORGE_CHOOSE(probe_philox_xor)(static_cast<uint64_t>(seed), count);
}

int64_t parallel_chunks(int64_t count, int64_t grain) {
  std::atomic<int64_t> chunks = 0;
  parallel_for(0, count, grain, [&](int64_t, int64_t) { ++chunks; });
  return chunks;
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("_philox", TORCH_BOX(&lexforge::philox_quads));
  m.impl("_philox_run", TORCH_BOX(&lexforge::philox_run));
  m.impl("_numerics", TORCH_BOX(&lexforge::numerics));
}

STABLE_TORCH_LIBRARY_IMPL(lexforge, CompositeExplicitAutograd, m) {
  m.impl("_philox_xor", TORCH_BOX(&lexforge::philox_xor));
  m.impl("_parallel_chunks", TORCH_BOX(&lexforge::parallel_chunks));
}
