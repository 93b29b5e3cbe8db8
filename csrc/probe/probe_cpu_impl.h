// CPU kernels of probe.h: one body, compiled per instruction set.
#include <cstdint>

#include "common/philox.h"
#include "probe/probe.h"
// Below here the compiler may use the instruction set of the build.
#include "common/philox_simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Copies lanes [0, n) of quads, n <= kWidth, to rows of four words.
LEXFORGE_INLINE void store_rows(const PhiloxLanes::Quads& quads, int64_t n, uint32_t* out) {
  uint32_t words[4][PhiloxLanes::kWidth];
  for (int w = 0; w < 4; ++w) Uint32Lanes::store_any(words[w], quads.word[w]);
  for (int64_t i = 0; i < n && i < PhiloxLanes::kWidth; ++i) {
    for (int w = 0; w < 4; ++w) out[4 * i + w] = words[w][i];
  }
}

}  // namespace

void probe_philox(const uint32_t* counters, uint64_t seed, int64_t n, uint32_t* out) {
  constexpr int kWidth = PhiloxLanes::kWidth;
  for (int64_t first = 0; first < n; first += kWidth) {
    uint32_t words[4][kWidth] = {};
    for (int64_t i = 0; i < kWidth && first + i < n; ++i) {
      for (int w = 0; w < 4; ++w) words[w][i] = counters[4 * (first + i) + w];
    }
    PhiloxLanes::Quads counter;
    for (int w = 0; w < 4; ++w) counter.word[w] = Uint32Lanes::load_any(words[w]);
    store_rows(
        PhiloxLanes::quads(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), counter),
        n - first, out + 4 * first);
  }
}

void probe_philox_run(const PhiloxRun& run, int64_t n, uint32_t* out) {
  for (int64_t first = 0; first < n; first += PhiloxLanes::kWidth) {
    const uint64_t step = static_cast<uint64_t>(first);
    store_rows(run.along_slots
                   ? PhiloxLanes::along_slots(run.seed, run.epoch, run.position, run.stream,
                                              run.slot + static_cast<uint32_t>(step))
                   : PhiloxLanes::along_positions(run.seed, run.epoch, run.position + step,
                                                  run.stream, run.slot),
               n - first, out + 4 * first);
  }
}

uint32_t probe_philox_xor(uint64_t seed, int64_t n) {
  constexpr int64_t kWidth = PhiloxLanes::kWidth;
  uint32_t lanes[kWidth] = {};
  for (int64_t first = 0; first < n; first += kWidth) {
    const PhiloxLanes::Quads quads = PhiloxLanes::along_positions(
        seed, 0, static_cast<uint64_t>(first), RandomStream::kAliasSample, 0);
    uint32_t words[4][kWidth];
    for (int w = 0; w < 4; ++w) Uint32Lanes::store_any(words[w], quads.word[w]);
    for (int64_t i = n - first; i < kWidth; ++i) {  // beyond the end
      for (int w = 0; w < 4; ++w) words[w][i] = 0;
    }
    for (int64_t i = 0; i < kWidth; ++i) {
      lanes[i] ^= words[0][i] ^ words[1][i] ^ words[2][i] ^ words[3][i];
    }
  }
  uint32_t all = 0;
  for (int64_t i = 0; i < kWidth; ++i) all ^= lanes[i];
  return all;
}

void probe_numerics_float(const float* x, int64_t n, float* out) {
  using L = FloatLanes;
  for (int64_t i = 0; i < n; i += L::kWidth) {
    const L::reg value = L::load_first(x + i, n - i);
    L::reg log_sigmoid;
    const L::reg sigmoid = Numerics<L>::sigmoid_log(value, log_sigmoid);
    L::store_first(out + i, Numerics<L>::exp(value), n - i);
    L::store_first(out + n + i, Numerics<L>::sigmoid(value), n - i);
    L::store_first(out + 2 * n + i, sigmoid, n - i);
    L::store_first(out + 3 * n + i, log_sigmoid, n - i);
  }
}

void probe_numerics_double(const double* x, int64_t n, double* out) {
  using N = Numerics<ScalarLanes<double>>;
  for (int64_t i = 0; i < n; ++i) {
    out[i] = N::exp(x[i]);
    out[n + i] = N::sigmoid(x[i]);
    out[2 * n + i] = N::sigmoid_log(x[i], out[3 * n + i]);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
