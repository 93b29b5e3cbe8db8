// CPU kernels of sampling.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/sampling/sampling.py.
#include <cstdint>
#include <type_traits>

#include "sampling/sampling.h"
// Below here the compiler may use the instruction set of the build.
#include "sampling/alias_simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

constexpr int64_t kDraws = 2 * PhiloxLanes::kWidth;  // draws of one call of the lanes

// The draws of kWidth quads, in the order of the contract.
LEXFORGE_INLINE void draw_all(const AliasEntry* table, int64_t size,
                              const PhiloxLanes::Quads& quads, int32_t* out) {
  const uint32_t n = static_cast<uint32_t>(size);
  AliasLanes::store_pairs(out, AliasLanes::draw(table, n, quads.word[0], quads.word[1]),
                          AliasLanes::draw(table, n, quads.word[2], quads.word[3]));
}

}  // namespace

template <typename index_t>
void alias_sample(const AliasSampleParams& params, int64_t begin, int64_t end, index_t* out) {
  int64_t e = begin;
  if (e < end && ((params.offset + static_cast<uint64_t>(e)) & 1) != 0) {
    out[e] = alias_sample_at(params, e);
    ++e;
  }
  for (; e < end; e += kDraws) {
    const uint64_t position = (params.offset + static_cast<uint64_t>(e)) >> 1;
    const PhiloxLanes::Quads quads =
        PhiloxLanes::along_positions(params.seed, 0, position, RandomStream::kAliasSample, 0);
    if (std::is_same_v<index_t, int32_t> && e + kDraws <= end) {
      draw_all(params.table, params.size, quads, reinterpret_cast<int32_t*>(out + e));
    } else {
      int32_t drawn[kDraws];
      draw_all(params.table, params.size, quads, drawn);
      const int64_t n = end - e < kDraws ? end - e : kDraws;
      for (int64_t i = 0; i < n; ++i) out[e + i] = drawn[i];
    }
  }
}

template void alias_sample(const AliasSampleParams&, int64_t, int64_t, int32_t*);
template void alias_sample(const AliasSampleParams&, int64_t, int64_t, int64_t*);

void sample_noise(const SampleNoiseParams& params, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int32_t* positives = params.positives + params.offsets[row];
    const int64_t count = params.offsets[row + 1] - params.offsets[row];
    const int64_t n = params.negatives * count;
    const uint64_t position = noise_position(params, row);
    int32_t* noise = params.noise + params.negatives * params.offsets[row];
    for (int64_t first = 0; first < n; first += kDraws) {
      int32_t drawn[kDraws];
      draw_all(params.table, params.size,
               PhiloxLanes::along_slots(params.seed, params.epoch, position, RandomStream::kNoise,
                                        static_cast<uint32_t>(first >> 1)),
               drawn);
      int32_t hit[kDraws] = {};
      for (int64_t p = 0; p < count; ++p) {
        const int32_t positive = positives[p];
        for (int64_t i = 0; i < kDraws; ++i) hit[i] |= drawn[i] == positive;
      }
      int32_t hits = 0;
      for (int64_t i = 0; i < kDraws; ++i) hits |= hit[i];
      const int64_t here = n - first < kDraws ? n - first : kDraws;
      if (hits != 0) {
        for (int64_t i = 0; i < here; ++i) {
          if (hit[i] != 0) {
            drawn[i] = redraw_noise(params, position, positives, count, n, first + i, drawn[i]);
          }
        }
      }
      for (int64_t i = 0; i < here; ++i) noise[first + i] = drawn[i];
    }
  }
}

}  // namespace lexforge::LEXFORGE_ISA
