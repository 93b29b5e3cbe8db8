// CPU kernel of conv_max_pool.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/convolution/conv_max_pool.py.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "convolution/conv_max_pool.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_lanes.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Tokens whose products are fetched ahead: they lie anywhere, where no hardware sees them coming.
constexpr int64_t kTokensAhead = 2;

// The greatest of what came, the first of equals, in every lane.
template <typename L>
struct Greatest {
  using reg = typename L::reg;
  typedef int32_t places __attribute__((vector_size(sizeof(int32_t) * L::kWidth)));

  reg value;
  places place;

  LEXFORGE_INLINE void start(reg x) {
    value = x;
    place = places{};
  }
  // A NaN is greater than any number, and no later one takes its place.
  LEXFORGE_INLINE void add(reg x, int32_t p) {
    if constexpr (L::kWidth == 1) {
      if (x <= value || std::isnan(value)) return;
      value = x;
      place = places{} + p;
    } else {
      const places greater = ~static_cast<places>(x <= value) & (value == value);
      value = greater ? x : value;
      place = greater ? places{} + p : place;
    }
  }
};

// The maxima of a text over N registers of channels of the part, from c on; the last may be cut.
template <int N, typename scalar_t, typename stat_t>
LEXFORGE_INLINE void text_maxima(const ConvMaxPoolParams<scalar_t, stat_t>& params,
                                 const ConvMaxPoolPart<scalar_t, stat_t>& part, int64_t b,
                                 int64_t c) {
  using V = RowValues<scalar_t>;
  using S = RowValues<stat_t>;
  using L = typename V::lanes;
  const ConvTexts& texts = params.texts;
  const PackedSpan text = texts[b];
  const int64_t taps = params.taps, row_size = taps * part.channels;
  const int64_t positions = texts.positions(text.length, taps);
  const auto cut = [&](int j) { return j < N - 1 ? L::kWidth : part.channels - c - j * L::kWidth; };
  Greatest<L> greatest[N];
  for (auto& g : greatest) g.start(L::zero());
  for (int64_t p = 0; p < positions; ++p) {
    typename L::reg sum[N];
    for (int j = 0; j < N; ++j) sum[j] = L::zero();
    const int64_t there = text.length - p < taps ? text.length - p : taps;
    if (c == 0 && p + taps - 1 + kTokensAhead < text.length) {
      prefetch_row(part.products + texts.row(text.first + p + taps - 1 + kTokensAhead) * row_size,
                   row_size);
    }
    for (int64_t k = 0; k < there; ++k) {
      const scalar_t* row =
          part.products + texts.row(text.first + p + k) * row_size + k * part.channels + c;
      for (int j = 0; j < N; ++j) sum[j] = L::add(sum[j], V::load(row + j * L::kWidth, cut(j)));
    }
    for (int j = 0; j < N; ++j) {
      p == 0 ? greatest[j].start(sum[j]) : greatest[j].add(sum[j], static_cast<int32_t>(p));
    }
  }
  const int64_t channel = part.first_channel + c, cell = b * params.channels + channel;
  for (int j = 0; j < N; ++j) {
    const int64_t at = j * L::kWidth, n = cut(j) < L::kWidth ? cut(j) : L::kWidth;
    auto value = greatest[j].value;
    if (params.bias != nullptr) value = L::add(value, S::load(params.bias + channel + at, n));
    V::store(params.out + cell + at, value, n);
    std::memcpy(params.place + cell + at, &greatest[j].place,
                static_cast<size_t>(n) * sizeof(int32_t));
  }
}

}  // namespace

template <typename scalar_t, typename stat_t>
void conv_max_pool(const ConvMaxPoolParams<scalar_t, stat_t>& params,
                   const ConvMaxPoolPart<scalar_t, stat_t>& part, int64_t first_text,
                   int64_t last) {
  constexpr int64_t W = RowValues<scalar_t>::lanes::kWidth;
  for (int64_t b = first_text; b < last; ++b) {
    int64_t c = 0;
    for (; c + 3 * W < part.channels; c += 4 * W) text_maxima<4>(params, part, b, c);
    if (c + W < part.channels) {
      text_maxima<2>(params, part, b, c);
      c += 2 * W;
    }
    if (c < part.channels) text_maxima<1>(params, part, b, c);
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                            \
  template void conv_max_pool(const ConvMaxPoolParams<scalar_t, stat_t>&, \
                              const ConvMaxPoolPart<scalar_t, stat_t>&, int64_t, int64_t);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
