#include <atomic>

#include "common/check.h"
#include "common/cpu_capability.h"
#include "probe/probe.h"

namespace lexforge {
namespace {

Tensor philox_quads(const Tensor& counters, int64_t seed) {
  check_contiguous(counters, ScalarType::Int, 2, "_philox", "counters");
  STD_TORCH_CHECK(counters.size(1) == 4, "_philox: counters must be [n, 4]");
  Tensor out = torch::stable::empty_like(counters);
  choose(baseline::probe_philox, avx2::probe_philox, avx512::probe_philox)(
      data<uint32_t>(counters), static_cast<uint64_t>(seed), counters.size(0), data<uint32_t>(out));
  return out;
}

Tensor philox_run(const Tensor& like, int64_t seed, int64_t epoch, int64_t position, int64_t stream,
                  int64_t slot, int64_t count, bool along_slots) {
  Tensor out = torch::stable::new_empty(like, {count, 4}, ScalarType::Int);
  choose(baseline::probe_philox_run, avx2::probe_philox_run, avx512::probe_philox_run)(
      philox_run_of(seed, epoch, position, stream, slot, along_slots), count, data<uint32_t>(out));
  return out;
}

Tensor numerics(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 1 && x.is_contiguous(), "_numerics: x must be [n], contiguous");
  const int64_t n = x.size(0);
  Tensor out = torch::stable::new_empty(x, {4, n});
  if (x.scalar_type() == ScalarType::Double) {
    choose(baseline::probe_numerics_double, avx2::probe_numerics_double,
           avx512::probe_numerics_double)(data<double>(x), n, data<double>(out));
  } else {
    check_contiguous(x, ScalarType::Float, 1, "_numerics", "x");
    choose(baseline::probe_numerics_float, avx2::probe_numerics_float,
           avx512::probe_numerics_float)(data<float>(x), n, data<float>(out));
  }
  return out;
}

int64_t philox_xor(int64_t seed, int64_t count) {
  return choose(baseline::probe_philox_xor, avx2::probe_philox_xor, avx512::probe_philox_xor)(
      static_cast<uint64_t>(seed), count);
}

int64_t parallel_chunks(int64_t count, int64_t grain) {
  std::atomic<int64_t> chunks = 0;
  torch::stable::parallel_for(0, count, grain, [&](int64_t, int64_t) { ++chunks; });
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
