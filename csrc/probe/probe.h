// Private ops that let the tests reach what lies under every kernel: Philox and the numerics.
//
//   lexforge::_philox(counters int32 [n, 4], seed) -> int32 [n, 4]
//     quad i = philox4x32(key of seed, counters[i])
//   lexforge::_philox_run(like, seed, epoch, position, stream, slot, count, along_slots)
//     -> int32 [count, 4]
//     quad i = philox_at(...) with slot + i or position + i; on the device of `like`
//   lexforge::_philox_xor(seed, count) -> int
//     all words of quads (seed, epoch 0, position i, kAliasSample, slot 0), i < count, xored: what
//     the generator alone costs (CPU)
//   lexforge::_numerics(x float32 | float64 [n]) -> [4, n]
//     rows: exp(x), sigmoid(x), sigmoid(x) and log(sigmoid(x)) of sigmoid_log
//   lexforge::_parallel_chunks(count, grain) -> int
//     into how many chunks torch's pool cuts a range (CPU)
//
// The CPU kernels go through the lanes of the build in use, the CUDA ones through philox.h.
#pragma once

#include <cstdint>

#include "common/philox.h"

namespace lexforge {

struct PhiloxRun {
  uint64_t seed;
  uint32_t epoch;
  uint64_t position;
  RandomStream stream;
  uint32_t slot;
  bool along_slots;
};

// From the op's integers.
inline PhiloxRun philox_run_of(int64_t seed, int64_t epoch, int64_t position, int64_t stream,
                               int64_t slot, bool along_slots) {
  return {static_cast<uint64_t>(seed),     static_cast<uint32_t>(epoch),
          static_cast<uint64_t>(position), static_cast<RandomStream>(stream),
          static_cast<uint32_t>(slot),     along_slots};
}

LEXFORGE_HOST_DEVICE PhiloxQuad quad_of_run(const PhiloxRun& run, int64_t i) {
  const uint64_t step = static_cast<uint64_t>(i);
  return run.along_slots
             ? philox_at(run.seed, run.epoch, run.position, run.stream,
                         run.slot + static_cast<uint32_t>(step))
             : philox_at(run.seed, run.epoch, run.position + step, run.stream, run.slot);
}

// The three CPU builds of one body (probe_cpu_impl.h).
#define LEXFORGE_PROBE_CPU(isa)                                                         \
  namespace isa {                                                                       \
  void probe_philox(const uint32_t* counters, uint64_t seed, int64_t n, uint32_t* out); \
  void probe_philox_run(const PhiloxRun& run, int64_t n, uint32_t* out);                \
  uint32_t probe_philox_xor(uint64_t seed, int64_t n);                                  \
  void probe_numerics_float(const float* x, int64_t n, float* out);                     \
  void probe_numerics_double(const double* x, int64_t n, double* out);                  \
  }
LEXFORGE_PROBE_CPU(baseline)
LEXFORGE_PROBE_CPU(avx2)
LEXFORGE_PROBE_CPU(avx512)
#undef LEXFORGE_PROBE_CPU

void launch_probe_philox(const uint32_t* counters, uint64_t seed, int64_t n, uint32_t* out,
                         void* stream);
void launch_probe_philox_run(const PhiloxRun& run, int64_t n, uint32_t* out, void* stream);

}  // namespace lexforge
