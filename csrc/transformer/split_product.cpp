// CPU kernel of split_product.h, for the one instruction set that has tiles.
//
// Both matrices are packed into tiles of 16 x 32 parts, 1 KB each. A tile of the left matrix is 16
// rows of y and 32 of k; one of the right matrix 16 of k and of 16 columns, in words of two: the
// processor sums over the pairs. Which two are a pair is free as long as both sides agree; here
// they are k and k + 16, so that two registers of float32 become one of pairs without a shuffle.
#include "transformer/split_product.h"

#include <algorithm>
#include <type_traits>

#ifdef __x86_64__

// The instruction set applies from here on; what was included above stays baseline.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi,bmi2,popcnt,amx-tile,amx-bf16")

#define LEXFORGE_INLINE inline __attribute__((always_inline))

namespace lexforge::amx {
namespace {

constexpr int64_t kTile = 16;         // rows of a tile, and its words per row
constexpr int64_t kTileBytes = 1024;  // 16 x 64

LEXFORGE_INLINE __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>(n >= kTile ? 0xFFFFu : n <= 0 ? 0u : (1u << n) - 1u);
}

LEXFORGE_INLINE __m512 load(__mmask16 lanes, const float* x) {
  return _mm512_maskz_loadu_ps(lanes, x);
}
LEXFORGE_INLINE __m512 load(__mmask16 lanes, const Bfloat16* x) {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, x));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

// The nearest numbers of eight bits, as float32; of two that are as near the even one if kEven.
template <bool kEven>
LEXFORGE_INLINE __m512 rounded(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  __m512i half = _mm512_set1_epi32(0x8000);
  if constexpr (kEven) {
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
  }
  const __m512i up = _mm512_add_epi32(bits, half);
  return _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(~0xFFFF)));
}

LEXFORGE_INLINE void store(float* to, __mmask16 lanes, __m512 x) {
  _mm512_mask_storeu_ps(to, lanes, x);
}
LEXFORGE_INLINE void store(Bfloat16* to, __mmask16 lanes, __m512 x) {
  const __m512i words = _mm512_srli_epi32(_mm512_castps_si512(rounded<true>(x)), 16);
  _mm256_mask_storeu_epi16(to, lanes, _mm512_cvtepi32_epi16(words));
}

// Pairs of bfloat16 of numbers that have eight bits.
LEXFORGE_INLINE __m512i paired(__m512 low, __m512 high) {
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(low), 16),
                         _mm512_castps_si512(high));
}

// Writes one row of the tiles of a step: the parts of `low` and `high`.
template <int kParts>
LEXFORGE_INLINE void store_parts(__m512 low, __m512 high, char* to) {
#pragma GCC unroll 3
  for (int part = 0; part < kParts; ++part, to += kTileBytes) {
    const __m512 a = rounded<kParts == 1>(low), b = rounded<kParts == 1>(high);
    _mm512_store_si512(to, paired(a, b));
    low = _mm512_sub_ps(low, a);
    high = _mm512_sub_ps(high, b);
  }
}

LEXFORGE_INLINE __m512d pd(__m512 x) { return _mm512_castps_pd(x); }

LEXFORGE_INLINE void transpose(__m512 (&x)[kTile]) {
  __m512 y[kTile];
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512 a = _mm512_unpacklo_ps(x[i], x[i + 1]), b = _mm512_unpackhi_ps(x[i], x[i + 1]);
    const __m512 c = _mm512_unpacklo_ps(x[i + 2], x[i + 3]);
    const __m512 d = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
    y[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(a), pd(c)));
    y[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(a), pd(c)));
    y[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(b), pd(d)));
    y[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(b), pd(d)));
  }
  // y[4 g + j] holds columns j, 4 + j, 8 + j and 12 + j of rows 4 g .. 4 g + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_shuffle_f32x4(y[j], y[4 + j], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(y[8 + j], y[12 + j], 0x88);
    const __m512 c = _mm512_shuffle_f32x4(y[j], y[4 + j], 0xDD);
    const __m512 d = _mm512_shuffle_f32x4(y[8 + j], y[12 + j], 0xDD);
    x[j] = _mm512_shuffle_f32x4(a, b, 0x88);
    x[8 + j] = _mm512_shuffle_f32x4(a, b, 0xDD);
    x[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88);
    x[12 + j] = _mm512_shuffle_f32x4(c, d, 0xDD);
  }
}

// What passes by: all magnitudes' range, and the sum of the vectors.
struct Seen {
  __m512i largest, least;
  __m512 sum;

  LEXFORGE_INLINE Seen()
      : largest(_mm512_setzero_si512()), least(_mm512_set1_epi32(-1)), sum(_mm512_setzero_ps()) {}
  LEXFORGE_INLINE void magnitudes(__m512 x) {
    const __m512i size = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
    largest = _mm512_max_epu32(largest, size);
    least = _mm512_min_epu32(least, _mm512_sub_epi32(size, _mm512_set1_epi32(1)));
  }
  LEXFORGE_INLINE void operator()(__m512 x) {
    magnitudes(x);
    sum = _mm512_add_ps(sum, x);
  }
  LEXFORGE_INLINE ValueRange range() const {
    return {_mm512_reduce_max_epu32(largest), _mm512_reduce_min_epu32(least)};
  }
};

// The tiles of a step from vectors along memory: `count` of them, `length` numbers each, and
// further ones at `high`; the rest are zeros.
template <int kParts, typename T>
LEXFORGE_INLINE void pack_plain(const T* low, int64_t low_count, int64_t low_length, const T* high,
                                int64_t high_count, int64_t high_length, int64_t step, char* to,
                                Seen& seen) {
  const __mmask16 low_lanes = first_lanes(low_length), high_lanes = first_lanes(high_length);
  for (int64_t r = 0; r < kTile; ++r, low += step, high += step, to += 64) {
    const __m512 a = r < low_count ? load(low_lanes, low) : _mm512_setzero_ps();
    const __m512 b = r < high_count ? load(high_lanes, high) : _mm512_setzero_ps();
    seen(a);
    seen(b);
    store_parts<kParts>(a, b, to);
  }
}

// The same from what lies across memory.
template <int kParts, typename T>
LEXFORGE_INLINE void pack_across(const T* low, int64_t low_count, int64_t low_length, const T* high,
                                 int64_t high_count, int64_t high_length, int64_t step, char* to,
                                 Seen& seen) {
  const __mmask16 low_lanes = first_lanes(low_length), high_lanes = first_lanes(high_length);
  __m512 a[kTile], b[kTile];
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTile; ++r) {
    _mm_prefetch(low + r * step + kSplitRows, _MM_HINT_T1);  // the next panel's
    a[r] = r < low_count ? load(low_lanes, low + r * step) : _mm512_setzero_ps();
    seen(a[r]);
  }
  transpose(a);
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTile; ++r) {
    _mm_prefetch(high + r * step + kSplitRows, _MM_HINT_T1);
    b[r] = r < high_count ? load(high_lanes, high + r * step) : _mm512_setzero_ps();
    seen(b[r]);
  }
  transpose(b);
  for (int64_t r = 0; r < kTile; ++r, to += 64) store_parts<kParts>(a[r], b[r], to);
}

// Packs 16 free indices, `count` of which there are, and `depth` of k; both from where the operand
// begins. kLeft: rows of the tiles are free indices, not k.
template <int kParts, bool kLeft, typename T>
void pack_tiles(const SplitOperand<T>& from, int64_t count, int64_t depth, char* to, float* sums,
                bool fresh, Seen& seen) {
  const T* low = from.data;
  for (int64_t k = 0; k < depth; k += kSplitStep, to += kParts * kTileBytes) {
    const int64_t of_low = std::min(depth - k, kTile);
    const int64_t of_high = std::clamp<int64_t>(depth - k - kTile, 0, kTile);
    const T* high = low + kTile * from.summed;
    if (from.summed == 1) {  // vectors of k, one for each free index
      if constexpr (kLeft) {
        pack_plain<kParts>(low, count, of_low, high, count, of_high, from.free, to, seen);
      } else {
        pack_across<kParts>(low, count, of_low, high, count, of_high, from.free, to, seen);
      }
    } else {  // vectors of free indices
      if constexpr (kLeft) {
        pack_across<kParts>(low, of_low, count, high, of_high, count, from.summed, to, seen);
      } else {
        pack_plain<kParts>(low, of_low, count, high, of_high, count, from.summed, to, seen);
      }
    }
    low += kSplitStep * from.summed;
    const int64_t done = k + kSplitStep;
    if (sums == nullptr || (done % kSplitSegment != 0 && done < depth)) continue;
    const __mmask16 lanes = first_lanes(count);
    if (!fresh) seen.sum = _mm512_add_ps(seen.sum, _mm512_maskz_loadu_ps(lanes, sums));
    _mm512_mask_storeu_ps(sums, lanes, seen.sum);
    seen.sum = _mm512_setzero_ps();
    fresh = false;
  }
}

// A panel of 32 free indices, or fewer: one or two columns of tiles.
template <int kParts, bool kLeft, typename T>
void pack_panel(const SplitOperand<T>& from, int64_t count, int64_t depth, char* to, float* sums,
                bool fresh, Seen& seen) {
  const int64_t bytes = split_units(depth, kSplitStep) * kParts * kTileBytes;
  for (int64_t i = 0; i < count; i += kTile, to += bytes) {
    pack_tiles<kParts, kLeft, T>({from.data + i * from.free, from.free, from.summed},
                                 std::min(count - i, kTile), depth, to,
                                 sums == nullptr ? sums : sums + i, fresh, seen);
  }
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfig kAllTiles;

// All eight tiles are 16 rows of 64 bytes while it lives.
struct Tiles {
  Tiles() { _tile_loadconfig(&kAllTiles); }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
};

// A sum over steps of up to 32 x 32 of y. Tiles 0 .. 3 hold it, 4 and 5 the left matrix's parts, 6
// and 7 the right one's. `kTwoRows` and `kTwoColumns`: of tiles; else one.
template <int kParts, bool kTwoRows, bool kTwoColumns>
struct Product {
  static constexpr int64_t kStepBytes = kParts * kTileBytes;
  const char *left, *right;
  int64_t next;  // bytes from a tile to that of the next 16 rows or columns

  template <int kPart>
  LEXFORGE_INLINE void load_left(const char* a) const {
    _tile_loadd(4, a + kPart * kTileBytes, 64);
    if constexpr (kTwoRows) _tile_loadd(5, a + next + kPart * kTileBytes, 64);
  }
  template <int kPart>
  LEXFORGE_INLINE void load_right(const char* b) const {
    _tile_loadd(6, b + kPart * kTileBytes, 64);
    if constexpr (kTwoColumns) _tile_loadd(7, b + next + kPart * kTileBytes, 64);
  }
  static LEXFORGE_INLINE void multiply() {
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoColumns) _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTwoRows) _tile_dpbf16ps(2, 5, 6);
    if constexpr (kTwoRows && kTwoColumns) _tile_dpbf16ps(3, 5, 7);
  }

  void operator()(int64_t steps, float* to, int64_t row) const {
    asm volatile("" ::: "memory");  // the compiler does not know what tiles are loaded from
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    // The small products first: they round little. Each differs from the one before on one side.
    for (int64_t s = 0; kParts == 3 && s < steps; ++s) {
      const char *a = left + s * kStepBytes, *b = right + s * kStepBytes;
      load_left<2>(a), load_right<0>(b), multiply();
      load_left<1>(a), multiply();
      load_right<1>(b), multiply();
      load_left<0>(a), multiply();
      load_right<2>(b), multiply();
    }
    for (int64_t s = 0; s < steps; ++s) {
      load_left<0>(left + s * kStepBytes), load_right<0>(right + s * kStepBytes), multiply();
    }
    const int64_t bytes = row * static_cast<int64_t>(sizeof(float));
    _tile_stored(0, to, bytes);
    if constexpr (kTwoColumns) _tile_stored(1, to + kTile, bytes);
    if constexpr (kTwoRows) _tile_stored(2, to + kTile * row, bytes);
    if constexpr (kTwoRows && kTwoColumns) _tile_stored(3, to + kTile * row + kTile, bytes);
  }
};

// y[rows, columns], at most 32 x 32, = from + the sum over steps. from == nullptr: zeros; its rows
// are `from_row` apart, so that 0 repeats one. `next` as above.
template <int kParts, typename T>
void multiply_panel(const char* left, const char* right, int64_t next, int64_t steps, int64_t rows,
                    int64_t columns, const float* from, int64_t from_row, T* y, int64_t y_row) {
  alignas(64) float sum[kSplitRows * kSplitColumns];
  bool plain = false;
  float* to = sum;
  if constexpr (std::is_same_v<T, float>) {
    plain = from == nullptr && rows % kTile == 0 && columns % kTile == 0;
    if (plain) to = y;
  }
  const int64_t row = plain ? y_row : kSplitColumns;
  if (rows > kTile && columns > kTile) {
    Product<kParts, true, true>{left, right, next}(steps, to, row);
  } else if (rows > kTile) {
    Product<kParts, true, false>{left, right, next}(steps, to, row);
  } else if (columns > kTile) {
    Product<kParts, false, true>{left, right, next}(steps, to, row);
  } else {
    Product<kParts, false, false>{left, right, next}(steps, to, row);
  }
  if (plain) return;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; c += kTile) {
      const __mmask16 lanes = first_lanes(columns - c);
      __m512 x = _mm512_load_ps(sum + r * kSplitColumns + c);
      if (from != nullptr) {
        x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(lanes, from + r * from_row + c));
      }
      store(y + r * y_row + c, lanes, x);
    }
  }
}

}  // namespace

ValueRange split_range(const SplitOperand<float>& x, int64_t first, int64_t last, int64_t length) {
  const int64_t step = x.free == 1 ? x.summed : x.free;
  Seen seen;
  for (int64_t r = first; r < last; ++r) {
    const float* row = x.data + r * step;
    for (int64_t i = 0; i < length; i += kTile) {
      seen.magnitudes(_mm512_maskz_loadu_ps(first_lanes(length - i), row + i));
    }
  }
  return seen.range();
}

bool split_is_exact(const ValueRange& left, const ValueRange& right, int64_t depth) {
  if (left.largest == 0 || right.largest == 0) {  // zeros, times what is finite
    return std::max(left.largest, right.largest) < 0x7F000000;
  }
  // Exponents of numbers 2^e .. 2^(e + 1). Below 2^-96, products of parts are lost that are not
  // negligible beside them; the last part of a number below 2^-100 may be lost itself.
  const auto exponent = [](uint32_t bits) { return static_cast<int>(bits >> 23) - 127; };
  constexpr int kLeast = -100, kLeastProduct = -96, kLargestSum = 125;
  const int low_left = exponent(left.least + 1), low_right = exponent(right.least + 1);
  const int high_left = exponent(left.largest), high_right = exponent(right.largest);
  int bits = 0;
  while (depth >> bits != 0) ++bits;
  return low_left >= kLeast && low_right >= kLeast && low_left + low_right >= kLeastProduct &&
         std::max(high_left, high_right) < 127 && high_left + high_right + 2 + bits <= kLargestSum;
}

template <int kParts, typename L, typename R, typename Y>
ValueRange split_pack(const SplitProductParams<L, R, Y>& p, const SplitBlock& block, int64_t first,
                      int64_t last, void* packed) {
  Seen seen;
  const SplitOperand<R> from{p.right.data + block.first * p.right.summed, p.right.free,
                             p.right.summed};
  for (int64_t i = first; i < last; ++i) {
    const int64_t column = i * kSplitColumns;
    pack_panel<kParts, false, R>(
        {from.data + (block.first_column + column) * from.free, from.free, from.summed},
        std::min(block.columns - column, kSplitColumns), block.depth,
        static_cast<char*>(packed) + i * split_panel_bytes(block.depth, kParts), nullptr, false,
        seen);
  }
  return seen.range();
}

template <int kParts, typename L, typename R, typename Y>
ValueRange split_multiply(const SplitProductParams<L, R, Y>& p, const SplitBlock& block,
                          const void* packed, int64_t first_row, int64_t last_row, int64_t first,
                          int64_t last, void* workspace) {
  Seen seen;
  const Tiles tiles;
  constexpr int64_t kStepBytes = kParts * kTileBytes;
  const char *left = static_cast<char*>(workspace), *right = static_cast<const char*>(packed);
  const int64_t steps = split_units(block.depth, kSplitStep), next = steps * kStepBytes;
  // What is rounded to y is rounded once.
  const int64_t segment = std::is_same_v<Y, float> ? kSplitSegment / kSplitStep : steps;
  const bool fresh = block.first == 0 && !p.add;
  const bool sums = p.sums != nullptr && block.first_column == 0 && first == 0;
  for (int64_t m = first_row; m < last_row; m += kSplitRows) {
    const int64_t rows = std::min(last_row - m, kSplitRows);
    pack_panel<kParts, true, L>(
        {p.left.data + m * p.left.free + block.first * p.left.summed, p.left.free, p.left.summed},
        rows, block.depth, static_cast<char*>(workspace), sums ? p.sums + m : nullptr, fresh, seen);
    // A segment of the left panel stays in the first-level cache, and the right ones pass by.
    for (int64_t s = 0; s < steps; s += segment) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t column = block.first_column + i * kSplitColumns;
        const int64_t columns = std::min(block.columns - i * kSplitColumns, kSplitColumns);
        Y* y = p.y + m * p.columns + column;
        const float* from = p.bias == nullptr ? nullptr : p.bias + column;
        int64_t from_row = 0;
        if constexpr (std::is_same_v<Y, float>) {
          if (!fresh || s != 0) from = y, from_row = p.columns;
        }
        multiply_panel<kParts>(left + s * kStepBytes, right + 2 * i * next + s * kStepBytes, next,
                               std::min(steps - s, segment), rows, columns, from, from_row, y,
                               p.columns);
      }
    }
  }
  return seen.range();
}

#define LEXFORGE_INSTANTIATE(parts, L, R, Y)                                                       \
  template ValueRange split_pack<parts>(const SplitProductParams<L, R, Y>&, const SplitBlock&,     \
                                        int64_t, int64_t, void*);                                  \
  template ValueRange split_multiply<parts>(const SplitProductParams<L, R, Y>&, const SplitBlock&, \
                                            const void*, int64_t, int64_t, int64_t, int64_t,       \
                                            void*);
LEXFORGE_INSTANTIATE(3, float, float, float)
LEXFORGE_INSTANTIATE(1, Bfloat16, float, Bfloat16)
LEXFORGE_INSTANTIATE(1, Bfloat16, Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::amx

#else

namespace lexforge::amx {

ValueRange split_range(const SplitOperand<float>&, int64_t, int64_t, int64_t) { return {}; }
bool split_is_exact(const ValueRange&, const ValueRange&, int64_t) { return false; }
template <int, typename L, typename R, typename Y>
ValueRange split_pack(const SplitProductParams<L, R, Y>&, const SplitBlock&, int64_t, int64_t,
                      void*) {
  return {};
}
template <int, typename L, typename R, typename Y>
ValueRange split_multiply(const SplitProductParams<L, R, Y>&, const SplitBlock&, const void*,
                          int64_t, int64_t, int64_t, int64_t, void*) {
  return {};
}
#define LEXFORGE_INSTANTIATE(parts, L, R, Y)                                                       \
  template ValueRange split_pack<parts>(const SplitProductParams<L, R, Y>&, const SplitBlock&,     \
                                        int64_t, int64_t, void*);                                  \
  template ValueRange split_multiply<parts>(const SplitProductParams<L, R, Y>&, const SplitBlock&, \
                                            const void*, int64_t, int64_t, int64_t, int64_t,       \
                                            void*);
LEXFORGE_INSTANTIATE(3, float, float, float)
LEXFORGE_INSTANTIATE(1, Bfloat16, float, Bfloat16)
LEXFORGE_INSTANTIATE(1, Bfloat16, Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::amx

#endif
