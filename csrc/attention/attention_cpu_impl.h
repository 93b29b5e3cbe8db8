// CPU kernels of attention.h: one body, compiled per instruction set.
//
// Everything is a product of packed blocks by one register tile (`tile` below). Its left operand is
// read an element at a time, so it may lie either way round; its right operand is read in rows of
// lanes. Of a sequence's head, the scores therefore need K transposed (and so do the products of
// the gradient with V), packed in panels of kPanel keys; everything else is packed row by row, and
// no block of probabilities is ever transposed.
//
// A packed element is what one lane multiplies at a time: a number, or a pair of bfloat16 numbers
// that are neighbours in the direction of the sum.
#include <utility>

#include "attention/attention_cpu.h"
#include "common/philox_simd.h"
#include "common/simd.h"
// What needs it.
#include "common/exp2_simd.h"

namespace lexforge::LEXFORGE_ISA {

// Queries at a time: their scores against all keys stay in the second-level cache.
constexpr int64_t kRows = 48;
// Rows of a register tile, and its registers per row; 6 x 4 of 32 registers, or 6 x 2 of 16.
constexpr int64_t kTileRows = 6;
#if defined(LEXFORGE_ISA_AVX512)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif
// Keys summed over at a time in the forward pass, so that their values stay in the first-level
// cache while the rows pass by; keys of a block of the backward pass. Multiples of every kPanel and
// of the keys of one step of the random generator.
constexpr int64_t kDepth = 64;
constexpr int64_t kKeys = 128;

constexpr double kLog2E = 1.4426950408889634;

constexpr int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// ---- Lanes -------------------------------------------------------------------------------------

// The first n of a register's elements, mostly all of them: a branch that is foreseen costs less
// than a mask. The rest is 0, or is not written.
template <typename L>
LEXFORGE_INLINE typename L::reg load_row(const typename L::scalar* p, int64_t n) {
  return n >= L::kWidth ? L::load_any(p) : L::load_first(p, n);
}
template <typename L>
LEXFORGE_INLINE void store_row(typename L::scalar* p, typename L::reg x, int64_t n) {
  n >= L::kWidth ? L::store_any(p, x) : L::store_first(p, x, n);
}

template <typename L, int step, bool upper, int... lane>
LEXFORGE_INLINE typename L::reg exchange(typename L::reg a, typename L::reg b,
                                         std::integer_sequence<int, lane...>) {
  constexpr int width = static_cast<int>(L::kWidth);
  if constexpr (upper) {
    return __builtin_shufflevector(a, b, ((lane & step) != 0 ? width + lane : lane + step)...);
  } else {
    return __builtin_shufflevector(a, b, ((lane & step) != 0 ? width + lane - step : lane)...);
  }
}

// Swaps the off-diagonal quarters of 2 step x 2 step squares, then goes on with half of step.
template <typename L, int step>
LEXFORGE_INLINE void transpose_from(typename L::reg* rows) {
  if constexpr (step > 0) {
    constexpr auto lanes = std::make_integer_sequence<int, static_cast<int>(L::kWidth)>();
#pragma GCC unroll 16
    for (int i = 0; i < L::kWidth; ++i) {
      if ((i & step) != 0) continue;
      const typename L::reg a = rows[i], b = rows[i + step];
      rows[i] = exchange<L, step, false>(a, b, lanes);
      rows[i + step] = exchange<L, step, true>(a, b, lanes);
    }
    transpose_from<L, step / 2>(rows);
  }
}

// Lane l of row r becomes lane r of row l.
template <typename L>
LEXFORGE_INLINE void transpose(typename L::reg* rows) {
  transpose_from<L, static_cast<int>(L::kWidth) / 2>(rows);
}

// x where the lane's bit, the first one being bit j of `bits`, is set; else 0. j is a multiple of
// the width.
template <typename L>
LEXFORGE_INLINE typename L::reg keep(typename L::reg x, const uint8_t* bits, int64_t j) {
#if defined(LEXFORGE_ISA_AVX512)
  if constexpr (L::kWidth == 16) {
    uint16_t word;
    std::memcpy(&word, bits + j / 8, sizeof word);
    return _mm512_maskz_mov_ps(word, x);
  }
#elif defined(LEXFORGE_ISA_AVX2)
  if constexpr (L::kWidth == 8) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(bits[j / 8]), lane);
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane)));
  }
#else
  if constexpr (L::kWidth == 4) {
    const int32_t byte = bits[j / 8] >> (j % 8);
    const typename L::ints lane{1, 2, 4, 8};
    const typename L::ints set = (typename L::ints{byte, byte, byte, byte} & lane) == lane;
    return reinterpret_cast<typename L::reg>(reinterpret_cast<typename L::ints>(x) & set);
  }
#endif
  if constexpr (L::kWidth == 1) return (bits[j / 8] >> (j % 8) & 1) != 0 ? x : L::zero();
}

// ---- Dropout -----------------------------------------------------------------------------------

// Bit j of `bits` says whether entry (i, first + j) is kept, for j in [0, count) and some beyond;
// first is a multiple of kKeys, and there is room for round_up(count, kKeys) bits.
LEXFORGE_INLINE void keep_bits(const AttentionShape& shape, AttentionTask task, int64_t i,
                               int64_t first, int64_t count, uint8_t* bits) {
  const Dropout& dropout = shape.dropout;
  const uint64_t row = static_cast<uint64_t>(task.sequence * shape.heads + task.head) << 32 |
                       static_cast<uint64_t>(i);
  constexpr int kQuads = PhiloxLanes::kWidth;  // four to a group of 32 keys
  const auto seed = static_cast<uint64_t>(*dropout.seed);
  if (dropout.threshold >= 65536) {
    std::memset(bits, 0, static_cast<size_t>(round_up(count, kKeys) / 8));
    return;
  }
  for (int64_t j = 0; j < count; j += 8 * kQuads, bits += kQuads) {
    const PhiloxLanes::Quads quads = PhiloxLanes::along_slots(
        seed, 0, row, RandomStream::kAttention, static_cast<uint32_t>((first + j) / 8));
    // Byte 4 g + w of the result is what word w of the quads 4 g ... 4 g + 3 says.
#if defined(LEXFORGE_ISA_AVX512)
    const __m512i threshold = _mm512_set1_epi16(static_cast<int16_t>(dropout.threshold));
    alignas(16) uint32_t by_word[4];
    for (int w = 0; w < 4; ++w) {
      by_word[w] = _mm512_cmpge_epu16_mask(quads.word[w], threshold);
    }
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m128i words = _mm_load_si128(reinterpret_cast<const __m128i*>(by_word));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(bits), _mm_shuffle_epi8(words, order));
#elif defined(LEXFORGE_ISA_AVX2)
    const __m256i threshold = _mm256_set1_epi16(static_cast<int16_t>(dropout.threshold));
    for (int w = 0; w < 4; ++w) {
      const __m256i kept =
          _mm256_cmpeq_epi16(_mm256_max_epu16(quads.word[w], threshold), quads.word[w]);
      const int mask = _mm256_movemask_epi8(_mm256_packs_epi16(kept, kept));
      bits[w] = static_cast<uint8_t>(mask);
      bits[4 + w] = static_cast<uint8_t>(mask >> 16);
    }
#else
    for (int w = 0; w < 4; ++w) {
      uint32_t word[kQuads];
      Uint32Lanes::store_any(word, quads.word[w]);
      uint32_t byte = 0;
      for (int c = 0; c < kQuads; ++c) {
        byte |= static_cast<uint32_t>((word[c] & 0xFFFFu) >= dropout.threshold) << (2 * c);
        byte |= static_cast<uint32_t>((word[c] >> 16) >= dropout.threshold) << (2 * c + 1);
      }
      bits[w] = static_cast<uint8_t>(byte);
    }
#endif
  }
}

// ---- Packed elements ---------------------------------------------------------------------------

// One number to an element; two-byte inputs are converted when they are packed.
template <typename scalar_t, typename stat_t>
struct Numbers;

template <typename L>
struct NumbersOf {
  using lanes = L;
  using scalar = typename L::scalar;
  using reg = typename L::reg;
  static constexpr int64_t kPack = 1;
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) { return L::fma(a, b, c); }
  // Rounds a row of probabilities, in place.
  static LEXFORGE_INLINE void round_row(scalar*, int64_t) {}
};

template <>
struct Numbers<float, float> : NumbersOf<FloatLanes> {
  static LEXFORGE_INLINE const float* elements(const float* row, int64_t, float*) { return row; }
  static LEXFORGE_INLINE void write(float* to, const float* from, float factor, int64_t dim) {
    using L = FloatLanes;
    for (int64_t d = 0; d < dim; d += L::kWidth) {
      store_row<L>(to + d, L::mul(L::broadcast(factor), L::load_any(from + d)), dim - d);
    }
  }
};

template <>
struct Numbers<double, double> : NumbersOf<ScalarLanes<double>> {
  static LEXFORGE_INLINE const double* elements(const double* row, int64_t, double*) { return row; }
  static LEXFORGE_INLINE void write(double* to, const double* from, double factor, int64_t dim) {
    for (int64_t d = 0; d < dim; ++d) to[d] = factor * from[d];
  }
};

#if defined(LEXFORGE_ISA_AVX512_BF16)

// Two bfloat16 numbers to an element, the first in the low half; the processor multiplies both and
// adds the products to a float.
template <>
struct Numbers<Bfloat16, float> {
  using lanes = FloatLanes;
  using scalar = float;
  using reg = __m512;
  static constexpr int64_t kPack = 2;
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static LEXFORGE_INLINE const float* elements(const Bfloat16* row, int64_t dim, float* staging) {
    if (dim % 2 == 0) return reinterpret_cast<const float*>(row);
    staging[dim / 2] = 0;
    std::memcpy(staging, row, static_cast<size_t>(dim) * sizeof *row);
    return staging;
  }
  static LEXFORGE_INLINE __mmask16 first(int64_t n) { return Float16::first(n); }
  static LEXFORGE_INLINE __m256i narrow(reg x) {
    return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
  }
  static LEXFORGE_INLINE reg pair(__m256i low, __m256i high) {
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(low),
                                               _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16)));
  }
  static LEXFORGE_INLINE void write(Bfloat16* to, const float* from, float factor, int64_t dim) {
    for (int64_t d = 0; d < dim; d += 16) {
      const reg x = _mm512_mul_ps(_mm512_loadu_ps(from + d), _mm512_set1_ps(factor));
      _mm256_mask_storeu_epi16(to + d, first(dim - d), narrow(x));
    }
  }
  // Neighbours in a row become pairs.
  static LEXFORGE_INLINE void round_row(float* row, int64_t n) { round_row(row, row, n); }
  static LEXFORGE_INLINE void round_row(const float* from, float* to, int64_t n) {
    for (int64_t j = 0; j < n; j += 16) {
      const __m256i x = narrow(_mm512_loadu_ps(from + j));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + j / 2), x);
    }
  }
  // Neighbours in a column become pairs, in place of the upper row; no lower row means zeros.
  static LEXFORGE_INLINE void round_rows(float* upper, const float* lower, int64_t n) {
    for (int64_t j = 0; j < n; j += 16) {
      const __m256i low = narrow(_mm512_loadu_ps(upper + j));
      const __m256i high =
          lower == nullptr ? _mm256_setzero_si256() : narrow(_mm512_loadu_ps(lower + j));
      _mm512_storeu_ps(upper + j, pair(low, high));
    }
  }
  static LEXFORGE_INLINE void pair_rows(const Bfloat16* upper, const Bfloat16* lower, float* to,
                                        int64_t dim) {
    for (int64_t d = 0; d < dim; d += 16) {
      const __m256i low = _mm256_maskz_loadu_epi16(first(dim - d), upper + d);
      const __m256i high = lower == nullptr ? _mm256_setzero_si256()
                                            : _mm256_maskz_loadu_epi16(first(dim - d), lower + d);
      _mm512_storeu_ps(to + d, pair(low, high));
    }
  }
};

#else

LEXFORGE_INLINE float widen(Bfloat16 x) {
  const uint32_t word = uint32_t{x.bits} << 16;
  float result;
  std::memcpy(&result, &word, sizeof result);
  return result;
}

// To nearest, ties to even; NaN stays NaN.
LEXFORGE_INLINE Bfloat16 narrow(float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  if ((word & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>(word >> 16 | 0x40)};
  return {static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16)};
}

template <>
struct Numbers<Bfloat16, float> : NumbersOf<FloatLanes> {
  static LEXFORGE_INLINE const float* elements(const Bfloat16* row, int64_t dim, float* staging) {
    for (int64_t d = 0; d < dim; ++d) staging[d] = widen(row[d]);
    return staging;
  }
  static LEXFORGE_INLINE void write(Bfloat16* to, const float* from, float factor, int64_t dim) {
    for (int64_t d = 0; d < dim; ++d) to[d] = narrow(factor * from[d]);
  }
};

#endif

// ---- Products ----------------------------------------------------------------------------------

// c[m][n] (+)= sum over k < depth of a[m * a_row + k * a_step] * b[k * b_step + n], for M rows and
// N registers of columns.
template <typename P>
struct Block {
  using scalar = typename P::scalar;
  const scalar* a;
  int64_t a_row, a_step;
  const scalar* b;
  int64_t b_step;
  scalar* c;
  int64_t c_row;
  int64_t depth;
  bool add;
};

// Not inlined: the callers' loops would compete for its registers.
template <typename P, int M, int N>
__attribute__((noinline)) void tile(const Block<P>& block) {
  using L = typename P::lanes;
  using reg = typename L::reg;
  constexpr int64_t W = L::kWidth;
  reg sum[M][N];  // registers, as long as every loop over it is unrolled
  auto* c = block.c;
  const int64_t a_row = block.a_row, a_step = block.a_step, b_step = block.b_step;
  const int64_t c_row = block.c_row;
#pragma GCC unroll 6
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      sum[m][n] = block.add ? L::load_any(c + m * c_row + n * W) : L::zero();
    }
  }
  const auto* a = block.a;
  const auto* b = block.b;
  for (int64_t k = block.depth; k > 0; --k) {
    reg column[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) column[n] = L::load_any(b + n * W);
#pragma GCC unroll 6
    for (int m = 0; m < M; ++m) {
      const reg x = L::broadcast(a[m * a_row]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[m][n] = P::multiply_add(x, column[n], sum[m][n]);
    }
    a += a_step;
    b += b_step;
  }
#pragma GCC unroll 6
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) L::store_any(c + m * c_row + n * W, sum[m][n]);
  }
}

template <typename P, int N>
LEXFORGE_INLINE void tile_of_rows(const Block<P>& block, int64_t rows) {
  switch (rows) {
    case 1:
      return tile<P, 1, N>(block);
    case 2:
      return tile<P, 2, N>(block);
    case 3:
      return tile<P, 3, N>(block);
    case 4:
      return tile<P, 4, N>(block);
    case 5:
      return tile<P, 5, N>(block);
    default:
      return tile<P, 6, N>(block);
  }
}

// `rows` in [1, kTileRows], `vectors` in [1, kTileVectors].
template <typename P>
LEXFORGE_INLINE void tile_of(const Block<P>& block, int64_t rows, int64_t vectors) {
  if (vectors == 1) return tile_of_rows<P, 1>(block, rows);
  if constexpr (kTileVectors == 2) {
    return tile_of_rows<P, 2>(block, rows);
  } else {
    if (vectors == 2) return tile_of_rows<P, 2>(block, rows);
    if (vectors == 3) return tile_of_rows<P, 3>(block, rows);
    return tile_of_rows<P, kTileVectors>(block, rows);
  }
}

// Rows in tiles of nearly one size: 8 rows are 4 + 4, not 6 + 2.
struct RowTiles {
  int64_t rows, count;
  explicit RowTiles(int64_t rows) : rows(rows), count((rows + kTileRows - 1) / kTileRows) {}
  int64_t first(int64_t t) const { return t * rows / count; }
  int64_t size(int64_t t) const { return first(t + 1) - first(t); }
};
constexpr int64_t kMaxTiles = kRows / kTileRows;

// ---- Packing -----------------------------------------------------------------------------------

// What all kernels here need to know of one head of one sequence.
template <typename P>
struct HeadShape {
  using L = typename P::lanes;
  static constexpr int64_t W = L::kWidth;
  static constexpr int64_t kPanel = kTileVectors * W;
  int64_t dim;       // D
  int64_t elements;  // of a row of D
  int64_t padded;    // numbers of a row that is written or summed into
  explicit HeadShape(int64_t dim)
      : dim(dim), elements((dim + P::kPack - 1) / P::kPack), padded(round_up(dim, W)) {}
  int64_t row() const { return round_up(elements, W); }  // packed row of elements
  // Packed rows of pack_depth.
  static int64_t depth(int64_t rows) { return (rows + P::kPack - 1) / P::kPack; }
  int64_t panels(int64_t keys) const { return (keys + kPanel - 1) / kPanel; }
  int64_t panel_size() const { return elements * kPanel; }
};

template <typename T>
LEXFORGE_INLINE T* head_rows(const AttentionRows<T>& rows, const AttentionShape& shape,
                             AttentionTask task) {
  return rows.data +
         (shape.cu_seqlens != nullptr ? shape.cu_seqlens[task.sequence] * rows.token_stride
                                      : task.sequence * rows.sequence_stride) +
         task.head * rows.head_stride;
}

// Fetches the rows of the next head into the second-level cache while this one computes: they are
// far apart (each row may lie in a page of its own), so no hardware prefetcher sees them coming. A
// step follows each tile, which takes about as long as the few lines that it asks for.
template <typename T>
class Ahead {
 public:
  // At most this much is asked for, so that it does not push out what is in use.
  static constexpr int64_t kBytes = 256 * 1024;
  static constexpr int64_t kRowsPerStep = 4;

  Ahead(const AttentionShape& shape, AttentionTask next, int64_t tensors)
      : shape_(shape), next_(next) {
    const int64_t row_bytes = shape.dim * static_cast<int64_t>(sizeof(T));
    rows_ = next.sequence < 0 ? 0 : attention_span(shape, next.sequence).length;
    const int64_t most = kBytes / (tensors * row_bytes);
    rows_ = rows_ < most ? rows_ : most;
    lines_ = (row_bytes + 63) / 64;
  }
  void add(const AttentionRows<const T>& rows) {
    if (rows_ == 0) return;
    streams_[count_++] = {reinterpret_cast<const char*>(head_rows(rows, shape_, next_)),
                          rows.token_stride * static_cast<int64_t>(sizeof(T))};
    left_ = rows_;
  }
  LEXFORGE_INLINE void step() {
    for (int64_t r = 0; r < kRowsPerStep && at_ < count_; ++r) {
      const char* row = streams_[at_].row;
      for (int64_t line = 0; line < lines_; ++line) __builtin_prefetch(row + 64 * line, 0, 2);
      streams_[at_].row += streams_[at_].stride;
      if (--left_ == 0) {
        ++at_;
        left_ = rows_;
      }
    }
  }

 private:
  struct Stream {
    const char* row;
    int64_t stride;
  };
  const AttentionShape& shape_;
  AttentionTask next_;
  Stream streams_[5];
  int64_t count_ = 0, at_ = 0, rows_ = 0, left_ = 0, lines_ = 0;
};

// Rows as they are, elements along the row, zeros up to whole registers.
template <typename P, typename scalar_t>
void pack_rows(const HeadShape<P>& head, const scalar_t* from, int64_t stride, int64_t rows,
               typename P::scalar* staging, typename P::scalar* to) {
  using L = typename P::lanes;
  for (int64_t r = 0; r < rows; ++r, from += stride, to += head.row()) {
    const auto* row = P::elements(from, head.dim, staging);
    for (int64_t e = 0; e < head.elements; e += L::kWidth) {
      L::store_any(to + e, load_row<L>(row + e, head.elements - e));
    }
  }
}

// Rows to be summed over: kPack neighbouring rows become one row of elements.
template <typename P, typename scalar_t>
void pack_depth(const HeadShape<P>& head, const scalar_t* from, int64_t stride, int64_t rows,
                typename P::scalar* staging, typename P::scalar* to) {
  if constexpr (P::kPack == 1) {
    pack_rows<P>(head, from, stride, rows, staging, to);
  } else {
    for (int64_t r = 0; r < rows; r += 2, to += head.padded, from += 2 * stride) {
      P::pair_rows(from, r + 1 < rows ? from + stride : nullptr, to, head.dim);
    }
  }
}

// Rows transposed: panel p holds element e of key p kPanel + l at [e][l]; zeros beyond the last.
template <typename P, typename scalar_t>
void pack_panels(const HeadShape<P>& head, const scalar_t* from, int64_t stride, int64_t rows,
                 typename P::scalar* staging, typename P::scalar* to) {
  using L = typename P::lanes;
  constexpr int64_t W = L::kWidth, kPanel = HeadShape<P>::kPanel;
  for (int64_t first = 0; first < rows; first += W) {
    auto* panel = to + first / kPanel * head.panel_size() + first % kPanel;
    const typename P::scalar* row[W] = {};
    for (int64_t r = 0; r < W && first + r < rows; ++r) {
      row[r] = P::elements(from + (first + r) * stride, head.dim, staging + r * kMaxHeadDim);
    }
    for (int64_t e = 0; e < head.elements; e += W) {
      const int64_t count = head.elements - e;
      typename L::reg square[W];
      for (int64_t r = 0; r < W; ++r) {
        square[r] = first + r < rows ? load_row<L>(row[r] + e, count) : L::zero();
      }
      transpose<L>(square);
      for (int64_t l = 0; l < W && l < count; ++l) {
        L::store_any(panel + (e + l) * kPanel, square[l]);
      }
    }
  }
}

// A piece of workspace memory, 64-byte aligned.
template <typename T>
LEXFORGE_INLINE T* take(char*& memory, int64_t count) {
  T* piece = reinterpret_cast<T*>(memory);
  memory += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
  return piece;
}

// ---- Forward -----------------------------------------------------------------------------------

template <typename P>
struct Workspace {
  using scalar = typename P::scalar;
  scalar *staging, *keys, *values, *queries, *scores, *sums;
  int64_t score_row;  // not a multiple of the page size: columns would share cache lines
  uint8_t* bits;
  int64_t bytes;

  Workspace(const HeadShape<P>& head, int64_t length, void* memory) {
    constexpr int64_t kPanel = HeadShape<P>::kPanel;
    char* next = static_cast<char*>(memory);
    score_row = round_up(length, kPanel) + 64 / static_cast<int64_t>(sizeof(scalar));
    staging = take<scalar>(next, HeadShape<P>::W * kMaxHeadDim);
    keys = take<scalar>(next, head.panels(length) * head.panel_size());
    values = take<scalar>(next, head.depth(length) * head.padded);
    queries = take<scalar>(next, kRows * head.row());
    scores = take<scalar>(next, kRows * score_row);
    sums = take<scalar>(next, kRows * head.padded);
    bits = take<uint8_t>(next, round_up(length, kKeys) / 8);
    bytes = next - static_cast<char*>(memory);
  }
};

// exp of scores minus their maximum, in place; the scores beyond `keys` up to `end` become 0.
// Returns the logarithm of the sum over exp(scale * score); `total` is the sum itself.
template <typename P>
LEXFORGE_INLINE typename P::scalar softmax_row(typename P::scalar* score, int64_t keys, int64_t end,
                                               double scale, typename P::scalar& total) {
  using L = typename P::lanes;
  using scalar = typename P::scalar;
  constexpr int64_t W = L::kWidth;
  end = round_up(end, W);
  total = 0;
  if (keys == 0) {
    for (int64_t j = 0; j < end; ++j) score[j] = 0;
    return -__builtin_inf();
  }
  for (int64_t j = keys; j < end; ++j) score[j] = static_cast<scalar>(-__builtin_inf());
  auto largest = L::load_any(score);
  for (int64_t j = W; j < end; j += W) largest = L::max(largest, L::load_any(score + j));
  scalar lane[W];
  L::store_any(lane, largest);
  for (int64_t l = 1; l < W; ++l) lane[0] = lane[0] < lane[l] ? lane[l] : lane[0];
  const scalar shift = lane[0];
  // The difference first: what the product rounds is then small where the probability is not.
  const auto factor = L::broadcast(static_cast<scalar>(scale * kLog2E));
  const auto offset = L::broadcast(shift);
  auto sum = L::zero();
  for (int64_t j = 0; j < end; j += W) {
    const auto p = exp2<L>(L::mul(L::sub(L::load_any(score + j), offset), factor));
    sum = L::add(sum, p);
    L::store_any(score + j, p);
  }
  total = L::sum(sum);
  if constexpr (sizeof(scalar) == sizeof(double)) {
    return static_cast<scalar>(scale) * shift + __builtin_log(total);
  } else {
    return static_cast<scalar>(scale) * shift + __builtin_logf(total);
  }
}

template <typename scalar_t, typename stat_t>
int64_t attention_workspace(int64_t length, int64_t dim) {
  using P = Numbers<scalar_t, stat_t>;
  return Workspace<P>(HeadShape<P>(dim), length, nullptr).bytes;
}

template <typename scalar_t, typename stat_t>
void attention_head(const AttentionParams<scalar_t, stat_t>& params, AttentionTask task,
                    AttentionTask next, void* memory) {
  using P = Numbers<scalar_t, stat_t>;
  using L = typename P::lanes;
  constexpr int64_t W = L::kWidth, kPanel = HeadShape<P>::kPanel;
  const AttentionShape& shape = params.shape;
  const int64_t b = task.sequence, h = task.head;
  const AttentionSpan span = attention_span(shape, b);
  const HeadShape<P> head(shape.dim);
  const Workspace<P> work(head, span.length, memory);
  int64_t keys = 0;  // that any query sees
  for (int64_t i = 0; i < span.length; ++i) {
    const int64_t n = attention_keys(shape, b, i, span.length);
    keys = keys < n ? n : keys;
  }
  const scalar_t* q = head_rows(params.q, shape, task);
  const scalar_t* k = head_rows(params.k, shape, task);
  const scalar_t* v = head_rows(params.v, shape, task);
  scalar_t* out = head_rows(params.out, shape, task);
  Ahead<scalar_t> ahead(shape, next, 3);
  ahead.add(params.k);
  ahead.add(params.v);
  ahead.add(params.q);
  pack_panels<P>(head, k, params.k.token_stride, keys, work.staging, work.keys);
  pack_depth<P>(head, v, params.v.token_stride, keys, work.staging, work.values);

  for (int64_t i0 = 0; i0 < span.length; i0 += kRows) {
    const int64_t rows = lesser(span.length - i0, kRows);
    const RowTiles tiles(rows);
    int64_t row_keys[kRows], tile_keys[kMaxTiles];
    for (int64_t t = 0; t < tiles.count; ++t) {
      tile_keys[t] = 0;
      for (int64_t r = tiles.first(t); r < tiles.first(t + 1); ++r) {
        row_keys[r] = attention_keys(shape, b, i0 + r, span.length);
        tile_keys[t] = tile_keys[t] < row_keys[r] ? row_keys[r] : tile_keys[t];
      }
    }
    pack_rows<P>(head, q + i0 * params.q.token_stride, params.q.token_stride, rows, work.staging,
                 work.queries);
    for (int64_t j0 = 0; j0 < keys; j0 += kPanel) {
      for (int64_t t = 0; t < tiles.count; ++t) {
        if (tile_keys[t] <= j0) continue;
        const int64_t vectors = (tile_keys[t] - j0 + W - 1) / W, r = tiles.first(t);
        tile_of<P>({work.queries + r * head.row(), head.row(), 1,
                    work.keys + j0 / kPanel * head.panel_size(), kPanel,
                    work.scores + r * work.score_row + j0, work.score_row, head.elements, false},
                   tiles.size(t), lesser(vectors, kTileVectors));
        ahead.step();
      }
    }
    stat_t factor[kRows];
    for (int64_t t = 0; t < tiles.count; ++t) {
      for (int64_t r = tiles.first(t); r < tiles.first(t + 1); ++r) {
        auto* score = work.scores + r * work.score_row;
        stat_t total;
        params.lse[(span.first + i0 + r) * shape.heads + h] =
            softmax_row<P>(score, row_keys[r], tile_keys[t], shape.scale, total);
        factor[r] = row_keys[r] > 0 ? 1 / total : 0;
        if (shape.dropout.seed != nullptr) {
          factor[r] *= shape.dropout.scale;
          keep_bits(shape, task, i0 + r, 0, row_keys[r], work.bits);
          for (int64_t j = 0; j < row_keys[r]; j += W) {
            L::store_any(score + j, keep<L>(L::load_any(score + j), work.bits, j));
          }
        }
        P::round_row(score, round_up(tile_keys[t], W));
      }
    }
    for (int64_t j0 = 0; j0 < keys || j0 == 0; j0 += kDepth) {
      for (int64_t d0 = 0; d0 < head.padded; d0 += kPanel) {
        const int64_t vectors = (head.padded - d0) / W;
        for (int64_t t = 0; t < tiles.count; ++t) {
          if (tile_keys[t] <= j0 && j0 > 0) continue;
          const int64_t depth = tile_keys[t] - j0, r = tiles.first(t);
          tile_of<P>({work.scores + r * work.score_row + j0 / P::kPack, work.score_row, 1,
                      work.values + j0 / P::kPack * head.padded + d0, head.padded,
                      work.sums + r * head.padded + d0, head.padded,
                      head.depth(lesser(depth, kDepth)), j0 > 0},
                     tiles.size(t), lesser(vectors, kTileVectors));
          ahead.step();
        }
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      P::write(out + (i0 + r) * params.out.token_stride, work.sums + r * head.padded, factor[r],
               head.dim);
    }
  }
}

// ---- Backward ----------------------------------------------------------------------------------

template <typename P>
struct BackwardWorkspace {
  using scalar = typename P::scalar;
  static constexpr int64_t kScoreRow = kKeys + 64 / static_cast<int64_t>(sizeof(scalar));
  scalar *staging, *queries, *grads, *delta, *minus_lse, *grad_q;  // of the whole sequence
  scalar *key_panels, *value_panels, *keys, *grad_k, *grad_v;      // of a block of keys
  scalar *probabilities, *errors;                                  // of a block of keys and queries
  // The same for the other direction of a product; they differ where elements are pairs.
  scalar *query_depth, *grad_depth, *error_rows;
  uint8_t* bits;
  int32_t* row_keys;
  int64_t bytes;

  BackwardWorkspace(const HeadShape<P>& head, int64_t length, void* memory) {
    char* next = static_cast<char*>(memory);
    staging = take<scalar>(next, HeadShape<P>::W * kMaxHeadDim);
    queries = take<scalar>(next, length * head.row());
    grads = take<scalar>(next, length * head.row());
    delta = take<scalar>(next, length);
    minus_lse = take<scalar>(next, length);
    grad_q = take<scalar>(next, length * head.padded);
    key_panels = take<scalar>(next, head.panels(kKeys) * head.panel_size());
    value_panels = take<scalar>(next, head.panels(kKeys) * head.panel_size());
    keys = take<scalar>(next, head.depth(kKeys) * head.padded);
    grad_k = take<scalar>(next, kKeys * head.padded);
    grad_v = take<scalar>(next, kKeys * head.padded);
    probabilities = take<scalar>(next, kRows * kScoreRow);
    errors = take<scalar>(next, kRows * kScoreRow);
    query_depth = queries;
    grad_depth = grads;
    error_rows = errors;
    if constexpr (P::kPack > 1) {
      query_depth = take<scalar>(next, head.depth(length) * head.padded);
      grad_depth = take<scalar>(next, head.depth(length) * head.padded);
      error_rows = take<scalar>(next, kRows * kScoreRow);
    }
    bits = take<uint8_t>(next, kKeys / 8);
    row_keys = take<int32_t>(next, length);
    bytes = next - static_cast<char*>(memory);
  }
};

template <typename scalar_t, typename stat_t>
int64_t attention_backward_workspace(int64_t length, int64_t dim) {
  using P = Numbers<scalar_t, stat_t>;
  return BackwardWorkspace<P>(HeadShape<P>(dim), length, nullptr).bytes;
}

template <typename P>
LEXFORGE_INLINE typename P::scalar dot(const typename P::scalar* x, const typename P::scalar* y,
                                       int64_t n) {
  using L = typename P::lanes;
  auto sum = L::zero();
  for (int64_t d = 0; d < n; d += L::kWidth) {
    sum = P::multiply_add(load_row<L>(x + d, n - d), load_row<L>(y + d, n - d), sum);
  }
  return L::sum(sum);
}

template <typename scalar>
struct ErrorRow {
  scalar scale, minus_lse, delta;
  const uint8_t* bits;  // of the entries that dropout keeps; null if all
  scalar kept_scale;
};

// A row's scores become its probabilities, without what is dropped and not yet scaled for it, and
// the products of its gradient with the values become its errors E (attention.h). Entries from
// `keys`, which may be negative, to `end` become 0; `end` is a multiple of the width.
template <typename P>
LEXFORGE_INLINE void error_row(typename P::scalar* p, typename P::scalar* e, int64_t keys,
                               int64_t end, const ErrorRow<typename P::scalar>& row) {
  using L = typename P::lanes;
  using scalar = typename P::scalar;
  const int64_t seen = keys < 0 ? 0 : keys, whole = round_up(seen, L::kWidth);
  for (int64_t j = seen; j < whole; ++j) p[j] = static_cast<scalar>(-__builtin_inf());
  for (int64_t j = whole; j < end; ++j) p[j] = e[j] = 0;
  const auto scale = L::broadcast(row.scale), minus_lse = L::broadcast(row.minus_lse);
  const auto log2e = L::broadcast(static_cast<scalar>(kLog2E));
  const auto delta = L::broadcast(row.delta), kept_scale = L::broadcast(row.kept_scale);
  for (int64_t j = 0; j < whole; j += L::kWidth) {
    auto probability = exp2<L>(L::mul(L::fma(L::load_any(p + j), scale, minus_lse), log2e));
    auto error = L::load_any(e + j);
    if (row.bits != nullptr) error = L::mul(kept_scale, keep<L>(error, row.bits, j));
    L::store_any(e + j, L::mul(probability, L::sub(error, delta)));
    if (row.bits != nullptr) probability = keep<L>(probability, row.bits, j);
    L::store_any(p + j, probability);
  }
}

template <typename scalar_t, typename stat_t>
void attention_backward_head(const AttentionBackwardParams<scalar_t, stat_t>& params,
                             AttentionTask task, AttentionTask next, void* memory) {
  using P = Numbers<scalar_t, stat_t>;
  using L = typename P::lanes;
  constexpr int64_t W = L::kWidth, kPanel = HeadShape<P>::kPanel;
  constexpr int64_t kScoreRow = BackwardWorkspace<P>::kScoreRow;
  const AttentionShape& shape = params.shape;
  const int64_t b = task.sequence, h = task.head;
  const AttentionSpan span = attention_span(shape, b);
  const HeadShape<P> head(shape.dim);
  const BackwardWorkspace<P> work(head, span.length, memory);
  const scalar_t* q = head_rows(params.q, shape, task);
  const scalar_t* k = head_rows(params.k, shape, task);
  const scalar_t* v = head_rows(params.v, shape, task);
  const scalar_t* out = head_rows(params.out, shape, task);
  const scalar_t* grad_out = head_rows(params.grad_out, shape, task);
  scalar_t* grad_q = head_rows(params.grad_q, shape, task);
  scalar_t* grad_k = head_rows(params.grad_k, shape, task);
  scalar_t* grad_v = head_rows(params.grad_v, shape, task);

  Ahead<scalar_t> ahead(shape, next, 5);
  ahead.add(params.q);
  ahead.add(params.grad_out);
  ahead.add(params.out);
  ahead.add(params.k);
  ahead.add(params.v);
  const bool drop = shape.dropout.seed != nullptr;
  const auto kept_scale = static_cast<stat_t>(drop ? shape.dropout.scale : 1.0f);
  pack_rows<P>(head, q, params.q.token_stride, span.length, work.staging, work.queries);
  pack_rows<P>(head, grad_out, params.grad_out.token_stride, span.length, work.staging, work.grads);
  if constexpr (P::kPack > 1) {
    pack_depth<P>(head, q, params.q.token_stride, span.length, work.staging, work.query_depth);
    pack_depth<P>(head, grad_out, params.grad_out.token_stride, span.length, work.staging,
                  work.grad_depth);
  }
  for (int64_t i = 0; i < span.length; ++i) {
    const int64_t n = attention_keys(shape, b, i, span.length);
    work.row_keys[i] = static_cast<int32_t>(n);
    // A row that sees nothing has no finite lse; its scores are all overwritten by -infinity.
    work.minus_lse[i] = n == 0 ? stat_t(0) : -params.lse[(span.first + i) * shape.heads + h];
    const auto* row = P::elements(out + i * params.out.token_stride, head.dim, work.staging);
    work.delta[i] = n == 0 ? stat_t(0) : dot<P>(row, work.grads + i * head.row(), head.elements);
    for (int64_t d = 0; d < head.padded; ++d) work.grad_q[i * head.padded + d] = 0;
  }

  for (int64_t j0 = 0; j0 < span.length; j0 += kKeys) {
    const int64_t keys = lesser(span.length - j0, kKeys);
    pack_panels<P>(head, k + j0 * params.k.token_stride, params.k.token_stride, keys, work.staging,
                   work.key_panels);
    pack_panels<P>(head, v + j0 * params.v.token_stride, params.v.token_stride, keys, work.staging,
                   work.value_panels);
    pack_depth<P>(head, k + j0 * params.k.token_stride, params.k.token_stride, keys, work.staging,
                  work.keys);
    for (int64_t d = 0; d < keys * head.padded; ++d) work.grad_k[d] = work.grad_v[d] = 0;

    for (int64_t i0 = 0; i0 < span.length; i0 += kRows) {
      const int64_t rows = lesser(span.length - i0, kRows);
      const RowTiles tiles(rows);
      int64_t tile_keys[kMaxTiles], seen = 0;
      for (int64_t t = 0; t < tiles.count; ++t) {
        tile_keys[t] = 0;
        for (int64_t r = tiles.first(t); r < tiles.first(t + 1); ++r) {
          const int64_t n = work.row_keys[i0 + r] - j0;
          tile_keys[t] = tile_keys[t] < n ? n : tile_keys[t];
        }
        tile_keys[t] = lesser(tile_keys[t], keys);
        seen = seen < tile_keys[t] ? tile_keys[t] : seen;
      }
      if (seen == 0) continue;
      const auto* queries = work.queries + i0 * head.row();
      const auto* grads = work.grads + i0 * head.row();
      for (int64_t p0 = 0; p0 < seen; p0 += kPanel) {
        for (int64_t t = 0; t < tiles.count; ++t) {
          if (tile_keys[t] <= p0) continue;
          const int64_t r = tiles.first(t), panel = p0 / kPanel * head.panel_size();
          const int64_t vectors = lesser((tile_keys[t] - p0 + W - 1) / W, kTileVectors);
          tile_of<P>({queries + r * head.row(), head.row(), 1, work.key_panels + panel, kPanel,
                      work.probabilities + r * kScoreRow + p0, kScoreRow, head.elements, false},
                     tiles.size(t), vectors);
          ahead.step();
          tile_of<P>({grads + r * head.row(), head.row(), 1, work.value_panels + panel, kPanel,
                      work.errors + r * kScoreRow + p0, kScoreRow, head.elements, false},
                     tiles.size(t), vectors);
          ahead.step();
        }
      }
      const int64_t end = round_up(seen, W);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t i = i0 + r, n = lesser(work.row_keys[i] - j0, end);
        if (drop && n > 0) keep_bits(shape, task, i, j0, n, work.bits);
        error_row<P>(work.probabilities + r * kScoreRow, work.errors + r * kScoreRow, n, end,
                     {static_cast<stat_t>(shape.scale), work.minus_lse[i], work.delta[i],
                      drop ? work.bits : nullptr, kept_scale});
      }
      if constexpr (P::kPack > 1) {
        for (int64_t r = 0; r < rows; ++r) {
          P::round_row(work.errors + r * kScoreRow, work.error_rows + r * kScoreRow, end);
        }
        for (int64_t r = 0; r < rows; r += 2) {
          stat_t* p = work.probabilities + r * kScoreRow;
          stat_t* e = work.errors + r * kScoreRow;
          P::round_rows(p, r + 1 < rows ? p + kScoreRow : nullptr, end);
          P::round_rows(e, r + 1 < rows ? e + kScoreRow : nullptr, end);
        }
      }
      const int64_t depth = head.depth(rows), step = P::kPack * kScoreRow;
      const auto* query_depth = work.query_depth + head.depth(i0) * head.padded;
      const auto* grad_depth = work.grad_depth + head.depth(i0) * head.padded;
      const RowTiles key_tiles(seen);
      for (int64_t d0 = 0; d0 < head.padded; d0 += kPanel) {
        const int64_t vectors = lesser((head.padded - d0) / W, kTileVectors);
        for (int64_t t = 0; t < key_tiles.count; ++t) {
          const int64_t j = key_tiles.first(t);
          tile_of<P>({work.probabilities + j, 1, step, grad_depth + d0, head.padded,
                      work.grad_v + j * head.padded + d0, head.padded, depth, true},
                     key_tiles.size(t), vectors);
          ahead.step();
        }
        for (int64_t t = 0; t < key_tiles.count; ++t) {
          const int64_t j = key_tiles.first(t);
          tile_of<P>({work.errors + j, 1, step, query_depth + d0, head.padded,
                      work.grad_k + j * head.padded + d0, head.padded, depth, true},
                     key_tiles.size(t), vectors);
          ahead.step();
        }
        for (int64_t t = 0; t < tiles.count; ++t) {
          if (tile_keys[t] == 0) continue;
          const int64_t r = tiles.first(t);
          tile_of<P>({work.error_rows + r * kScoreRow, kScoreRow, 1, work.keys + d0, head.padded,
                      work.grad_q + (i0 + r) * head.padded + d0, head.padded,
                      head.depth(tile_keys[t]), true},
                     tiles.size(t), vectors);
          ahead.step();
        }
      }
    }
    for (int64_t j = 0; j < keys; ++j) {
      P::write(grad_k + (j0 + j) * params.grad_k.token_stride, work.grad_k + j * head.padded,
               static_cast<stat_t>(shape.scale), head.dim);
      P::write(grad_v + (j0 + j) * params.grad_v.token_stride, work.grad_v + j * head.padded,
               kept_scale, head.dim);
    }
  }
  for (int64_t i = 0; i < span.length; ++i) {
    P::write(grad_q + i * params.grad_q.token_stride, work.grad_q + i * head.padded,
             static_cast<stat_t>(shape.scale), head.dim);
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                            \
  template int64_t attention_workspace<scalar_t, stat_t>(int64_t, int64_t);               \
  template void attention_head(const AttentionParams<scalar_t, stat_t>&, AttentionTask,   \
                               AttentionTask, void*);                                     \
  template int64_t attention_backward_workspace<scalar_t, stat_t>(int64_t, int64_t);      \
  template void attention_backward_head(const AttentionBackwardParams<scalar_t, stat_t>&, \
                                        AttentionTask, AttentionTask, void*);
#if !defined(LEXFORGE_ISA_AVX512_BF16)
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
#endif
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
