#include "common/cuda_binding.h"
#include "probe/probe.h"

namespace lexforge {
namespace {

Tensor philox_quads(const Tensor& counters, int64_t seed) {
  Checks("_philox", "counters", counters)
      .tensor("counters", counters, ScalarType::Int, {Checks::kAny, 4});
  const CudaCall call(counters);
  Tensor out = torch::stable::empty_like(counters);
  launch_probe_philox(data<uint32_t>(counters), static_cast<uint64_t>(seed), counters.size(0),
                      data<uint32_t>(out), call.stream());
  return out;
}

Tensor philox_run(const Tensor& like, int64_t seed, int64_t epoch, int64_t position, int64_t stream,
                  int64_t slot, int64_t count, bool along_slots) {
  const CudaCall call(like);
  Tensor out = new_empty(like, {count, 4}, ScalarType::Int);
  launch_probe_philox_run(philox_run_of(seed, epoch, position, stream, slot, along_slots), count,
                          data<uint32_t>(out), call.stream());
  return out;
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("_philox", TORCH_BOX(&lexforge::philox_quads));
  m.impl("_philox_run", TORCH_BOX(&lexforge::philox_run));
}
