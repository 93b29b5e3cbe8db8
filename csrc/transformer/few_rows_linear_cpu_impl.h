// CPU kernel of few_rows_linear.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/transformer/few_rows_linear.py.
//
// A register tile holds the products of some rows of the weights and some rows of x, lanes along
// the inputs. Rows of the weights come from memory once: for the next rows of x they are in the
// first-level cache. The rows after them are fetched meanwhile: else the products would wait for the
// memory, and then the memory for the products; and rows are too short for the processor to foresee
// them. Where x and eight rows of the weights exceed the first-level cache, the inputs are cut into
// parts, and sums wait in memory in between. Every product of two rows is one chain of multiply-adds
// in each lane and one sum over lanes, whatever shares the tile.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/bfloat16.h"
#include "common/scratch.h"
#include "transformer/few_rows_linear.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Rows of x of a tile, at most, and of the weights beside so many of x: eight, as long as the sums
// fit the registers, 32 or 16.
#if defined(LEXFORGE_ISA_AVX512)
constexpr int kMostRows = 4;
constexpr int weights_of_tile(int rows) { return rows < 4 ? 8 : 4; }
#else
constexpr int kMostRows = 2;
constexpr int weights_of_tile(int rows) { return 8 / rows; }
#endif

// Of a row of x and of the weights where the inputs are cut.
constexpr int64_t kPartBytes = 1024;

// What is multiplied at a time: numbers, or pairs of bfloat16.
template <typename scalar_t>
struct Factors {
  using Values = RowValues<scalar_t>;
  using L = typename Values::lanes;
  using reg = typename L::reg;
  static constexpr int64_t kStep = L::kWidth;
  static LEXFORGE_INLINE reg load(const scalar_t* p, int64_t n) { return Values::load(p, n); }
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) { return L::fma(a, b, c); }
};

#if defined(LEXFORGE_ISA_AVX512_BF16)
template <>
struct Factors<Bfloat16> {
  using L = FloatLanes;
  using reg = __m512;
  static constexpr int64_t kStep = 32;
  static LEXFORGE_INLINE reg load(const Bfloat16* p, int64_t n) {
    if (n >= kStep) return _mm512_loadu_ps(p);
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16((uint32_t{1} << n) - 1, p));
  }
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};
#endif

// Rows of x, or of a part of it, and how far apart they are.
template <typename scalar_t>
struct Rows {
  const scalar_t* first;
  int64_t stride;
};

// Memory that is fetched into the second-level cache while a tile is computed: so many cache lines at
// every step.
struct Ahead {
  const char* next;
  int64_t lines;
};

// sums[8 i + r] (+)= x row i . weight row r, for kRows rows of x and kWeights of the weights.
template <typename scalar_t, int kRows, int kWeights>
__attribute__((noinline)) void tile(Rows<scalar_t> x, const scalar_t* const* weights,
                                    int64_t inputs, bool begin, Ahead& ahead,
                                    typename Factors<scalar_t>::L::reg* sums) {
  using F = Factors<scalar_t>;
  using L = typename F::L;
  typename L::reg sum[kRows][kWeights];  // registers, as long as every loop over it is unrolled
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int r = 0; r < kWeights; ++r) sum[i][r] = begin ? L::zero() : sums[8 * i + r];
  }
  const char* next = ahead.next;
  const int64_t lines = ahead.lines;
  const auto step = [&](int64_t k, int64_t n) LEXFORGE_INLINED {
    for (int64_t line = 0; line < lines; ++line, next += 64) __builtin_prefetch(next, 0, 2);
    typename L::reg of_row[kRows];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) of_row[i] = F::load(x.first + i * x.stride + k, n);
#pragma GCC unroll 8
    for (int r = 0; r < kWeights; ++r) {
      const typename L::reg weight = F::load(weights[r] + k, n);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) sum[i][r] = F::multiply_add(weight, of_row[i], sum[i][r]);
    }
  };
  int64_t k = 0;
  for (; k + F::kStep <= inputs; k += F::kStep) step(k, F::kStep);
  if (k < inputs) step(k, inputs - k);
  ahead.next = next;
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int r = 0; r < kWeights; ++r) sums[8 * i + r] = sum[i][r];
  }
}

// The same for eight rows of the weights.
template <typename scalar_t, int kRows>
LEXFORGE_INLINE void eight_outputs(Rows<scalar_t> x, const scalar_t* const* weights, int64_t inputs,
                                   bool begin, Ahead& ahead,
                                   typename Factors<scalar_t>::L::reg* sums) {
  constexpr int kWeights = weights_of_tile(kRows);
  for (int r = 0; r < 8; r += kWeights) {
    tile<scalar_t, kRows, kWeights>(x, weights + r, inputs, begin, ahead, sums + r);
  }
}

#if defined(LEXFORGE_ISA_AVX512_BF16)

// Products by the processor's tiles, of at most sixteen rows of 64 bytes: sixteen rows of the weights,
// as they lie, times pairs of x in columns, which are put there first. The products of a row are added
// up in the order of the inputs, so that here, too, the bits depend on nothing else.
constexpr int64_t kTileRows = 16, kTileInputs = 32;

struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Pairs of x [count, K] in columns: [K / 2 up to whole tiles, count, 2], zeros beyond K.
void put_in_columns(const Bfloat16* x, int64_t count, int64_t inputs, int64_t columns,
                    Bfloat16* to) {
  for (int64_t k = 0; k < columns; k += 2) {
    for (int64_t i = 0; i < count; ++i, to += 2) {
      const int64_t left = inputs - k;
      std::memset(to, 0, 2 * sizeof(Bfloat16));
      if (left > 0) std::memcpy(to, x + i * inputs + k, (left > 1 ? 2 : 1) * sizeof(Bfloat16));
    }
  }
}

// y of rows [m, m + count) and outputs [n, n + outputs), of products [outputs, 16].
void store_products(const FewRowsLinearParams<Bfloat16>& params, const float* products, int64_t m,
                    int64_t count, int64_t n, int64_t outputs) {
  using Out = RowValues<Bfloat16>;
  const __m512i column =
      _mm512_slli_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), 4);
  for (int64_t i = 0; i < count; ++i) {
    for_registers<FloatLanes>(outputs, [&](int64_t d, int64_t some) LEXFORGE_INLINED {
      __m512 y = _mm512_i32gather_ps(column, products + kTileRows * d + i, 4);
      if (params.bias != nullptr) y = _mm512_add_ps(y, Out::load(params.bias + n + d, some));
      Out::store(params.y + (m + i) * params.outputs + n + d, y, some);
    });
  }
}

#pragma GCC push_options
#pragma GCC target("amx-tile,amx-bf16")

// For up to sixteen rows, or up to 32. Tiles 0 to 3 are products, by rows of x, then outputs; 4 and 5
// are weights, 6 and 7 are of x.
template <bool kMany>
void by_tiles(const FewRowsLinearParams<Bfloat16>& params, int64_t first, int64_t last,
              void* memory) {
  const int64_t inputs = params.inputs;
  const int64_t columns = (inputs + kTileInputs - 1) / kTileInputs * kTileInputs;
  const int64_t count = kMany ? kTileRows : params.rows, more = params.rows - count;
  Carver carver(memory);
  auto* x = carver.take<Bfloat16>(columns * count);
  auto* x_more = carver.take<Bfloat16>(columns * more);
  put_in_columns(params.x, count, inputs, columns, x);
  if constexpr (kMany) put_in_columns(params.x + count * inputs, more, inputs, columns, x_more);

  TileShapes shapes;
  for (int t = 0; t < 8; ++t) {
    shapes.rows[t] = kTileRows;
    const bool weights = t == 4 || t == 5, later = t == 2 || t == 3 || t == 7;
    shapes.row_bytes[t] = static_cast<uint16_t>(weights ? 64 : 4 * (later && kMany ? more : count));
  }
  _tile_loadconfig(&shapes);
  for (int64_t n = first; n < last; n += kFewRowsTiles) {
    const int64_t outputs = last - n < kFewRowsTiles ? last - n : kFewRowsTiles;
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kMany) {
      _tile_zero(2);
      _tile_zero(3);
    }
    alignas(64) Bfloat16 edge[kFewRowsTiles * kTileInputs];
    for (int64_t k = 0; k < inputs; k += kTileInputs) {
      const Bfloat16* weights = params.weight + n * inputs + k;
      int64_t stride = inputs;
      if (outputs < kFewRowsTiles || inputs - k < kTileInputs) {  // what lies beyond is not read
        const int64_t some = inputs - k < kTileInputs ? inputs - k : kTileInputs;
        std::memset(edge, 0, sizeof(edge));
        for (int64_t r = 0; r < outputs; ++r) {
          std::memcpy(edge + r * kTileInputs, weights + r * inputs, some * sizeof(Bfloat16));
        }
        weights = edge;
        stride = kTileInputs;
      }
      const int64_t bytes = stride * static_cast<int64_t>(sizeof(Bfloat16));
      _tile_loadd(6, x + k * count, 4 * count);
      _tile_loadd(4, weights, bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, weights + kTileRows * stride, bytes);
      _tile_dpbf16ps(1, 5, 6);
      if constexpr (kMany) {
        _tile_loadd(7, x_more + k * more, 4 * more);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    alignas(64) float products[kFewRowsTiles * kTileRows];
    _tile_stored(0, products, 64);
    _tile_stored(1, products + kTileRows * kTileRows, 64);
    store_products(params, products, 0, count, n, outputs);
    if constexpr (kMany) {
      _tile_stored(2, products, 64);
      _tile_stored(3, products + kTileRows * kTileRows, 64);
      store_products(params, products, count, more, n, outputs);
    }
  }
  _tile_release();
}

#pragma GCC pop_options
#endif

}  // namespace

template <typename scalar_t>
void few_rows_linear(const FewRowsLinearParams<scalar_t>& params, int64_t first, int64_t last,
                     void* memory) {
#if defined(LEXFORGE_ISA_AVX512_BF16)
  if (params.tiles) {
    return params.rows > kTileRows ? by_tiles<true>(params, first, last, memory)
                                   : by_tiles<false>(params, first, last, memory);
  }
#endif
  using F = Factors<scalar_t>;
  using L = typename F::L;
  using Out = RowValues<scalar_t>;
  const int64_t inputs = params.inputs, rows = params.rows;
  const int64_t most = kPartBytes / static_cast<int64_t>(sizeof(scalar_t));
  const bool whole = rows < kMostRows || inputs <= most;
  const int64_t part = whole ? inputs : most;
  Carver carver(memory);
  auto* sums = carver.take<typename L::reg>(rows * kFewRowsOutputs);
  const scalar_t* x = params.x;
  if (!whole) {  // [part, row, number]: the rows of a part lie together
    auto* to = carver.take<scalar_t>(rows * inputs);
    x = to;
    for (int64_t k = 0; k < inputs; k += part) {
      const int64_t some = inputs - k < part ? inputs - k : part;
      for (int64_t m = 0; m < rows; ++m, to += some) {
        std::memcpy(to, params.x + m * inputs + k, some * sizeof(scalar_t));
      }
    }
  }
  // The next eight rows of the weights, in as many shares as there are tiles of these.
  const int64_t groups = rows / kMostRows, left = rows % kMostRows;
  const int64_t tiles = groups * (8 / weights_of_tile(kMostRows)) + (left > 0 ? 1 : 0);
  const int64_t steps = tiles * (inputs / F::kStep);
  const int64_t bytes = kFewRowsOutputs * inputs * static_cast<int64_t>(sizeof(scalar_t));
  const int64_t lines = steps == 0 ? 0 : (bytes + 64 * steps - 1) / (64 * steps);
  for (int64_t n = first; n < last; n += kFewRowsOutputs) {
    const int64_t outputs = last - n < kFewRowsOutputs ? last - n : kFewRowsOutputs;
    Ahead ahead{reinterpret_cast<const char*>(params.weight + (n + kFewRowsOutputs) * inputs),
                lines};
    int64_t k = 0;
    do {
      const int64_t some = inputs - k < part ? inputs - k : part;
      const scalar_t* weights[kFewRowsOutputs];
      for (int64_t r = 0; r < kFewRowsOutputs;
           ++r) {  // the last eight are filled up with the first
        weights[r] = params.weight + (n + (r < outputs ? r : 0)) * inputs + k;
      }
      Rows<scalar_t> from{x + k * rows, some};
      if (whole) from = {x, inputs};
      auto* to = sums;
      for (int64_t m = 0; m < rows; m += kMostRows) {
        const auto products = rows - m >= kMostRows ? &eight_outputs<scalar_t, kMostRows>
                              : rows - m == 1       ? &eight_outputs<scalar_t, 1>
                              : rows - m == 2       ? &eight_outputs<scalar_t, 2>
                                                    : &eight_outputs<scalar_t, 3>;
        products(from, weights, some, k == 0, ahead, to);
        from.first += kMostRows * from.stride;
        to += kMostRows * kFewRowsOutputs;
      }
      k += part;
    } while (k < inputs);
    for (int64_t m = 0; m < rows; ++m) {
      typename L::reg of_row[8];
      std::memcpy(of_row, sums + m * kFewRowsOutputs, sizeof(of_row));
      typename L::scalar products[8 + 16];  // the last are read in whole registers
      L::sum8(of_row, products);
      for_registers<L>(outputs, [&](int64_t d, int64_t count) LEXFORGE_INLINED {
        auto y = Out::lanes::load_any(products + d);
        if (params.bias != nullptr) y = L::add(y, Out::load(params.bias + n + d, count));
        Out::store(params.y + m * params.outputs + n + d, y, count);
      });
    }
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t) \
  template void few_rows_linear(const FewRowsLinearParams<scalar_t>&, int64_t, int64_t, void*);
#if !defined(LEXFORGE_ISA_AVX512_BF16)
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
#endif
LEXFORGE_INSTANTIATE(Bfloat16)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
