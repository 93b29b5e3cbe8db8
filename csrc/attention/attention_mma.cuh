// Tiles of bfloat16 in shared memory: their way there from global memory, and from the results of
// tensor-core instructions back to it.
#pragma once

#include "attention/attention_cuda.cuh"
#include "common/tensor_tiles.cuh"

namespace lexforge {

constexpr int kTileRows = 64;  // keys or queries that are fetched at a time
constexpr float kLog2E = 1.4426950408889634f;

// Two results side by side as an operand a.
__device__ __forceinline__ void pack_a(uint32_t (&a)[4], const float (&left)[4],
                                       const float (&right)[4]) {
  a[0] = pack_bf16(left[0], left[1]);
  a[1] = pack_bf16(left[2], left[3]);
  a[2] = pack_bf16(right[0], right[1]);
  a[3] = pack_bf16(right[2], right[3]);
}

// Fetches rows first ... first + kRows - 1 of a head into a tile: zeros at and beyond `end` and
// `dim`, and for the thread's row i where bit i of `wanted` is not set. With aligned rows it only
// starts the copies (see copy_async).
template <int kColumns, int kRows, int kThreads>
__device__ __forceinline__ void fetch_tile(Bfloat16* tile, const HeadRows<const Bfloat16>& rows,
                                           int first, int end, int dim, bool aligned,
                                           uint32_t wanted = ~uint32_t{0}) {
  using Pattern = FetchPattern<kColumns, kThreads>;
  constexpr int kLanes = Pattern::kLanes, kRowStep = Pattern::kRowStep;
  static_assert(kRows % kRowStep == 0 && kRows / kRowStep <= 32);
  const Pattern pattern;
  const int row = first + pattern.row;
  const int rows_left = end - row, columns_left = dim - 8 * pattern.chunk;
  const Bfloat16* from = rows.data + row * rows.stride + 8 * pattern.chunk;
  Bfloat16* to = tile + pattern.offset;
  if (aligned) {
#pragma unroll
    for (int i = 0; i < kRows / kRowStep; ++i, from += kRowStep * rows.stride) {
      const bool there = i * kRowStep < rows_left && (wanted >> i & 1u) != 0;
#pragma unroll
      for (int column = 0; column < kColumns; column += 8 * kLanes) {
        const bool inside = there && column < columns_left;
        copy_async<16>(to + i * kRowStep * kColumns + column, inside ? from + column : rows.data,
                       inside);
      }
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < kRows / kRowStep; ++i, from += kRowStep * rows.stride) {
      const bool there = i * kRowStep < rows_left && (wanted >> i & 1u) != 0;
#pragma unroll 1
      for (int e = 0; e < kColumns / kLanes; ++e) {
        const int column = e / 8 * 8 * kLanes + e % 8;
        to[i * kRowStep * kColumns + column] =
            there && column < columns_left ? from[column] : Bfloat16{0};
      }
    }
  }
}

// Lane t of every four gets, in place of word t of each of the four lanes' (one row, four tiles of
// eight columns), the four words of tile t: sixteen bytes in a row.
__device__ __forceinline__ void gather_tile(uint32_t (&words)[4], int lane) {
#pragma unroll
  for (int step = 1; step <= 2; step *= 2) {
    const bool upper = (lane & step) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & step) != 0) continue;
      const uint32_t sent = upper ? words[i] : words[i + step];
      const uint32_t got = __shfl_xor_sync(kAllLanes, sent, step);
      words[i] = upper ? got : words[i];
      words[i + step] = upper ? words[i + step] : got;
    }
  }
}

// Writes eight neighbouring elements, the first `count` of them if that is less. With aligned rows
// `count` is a multiple of eight.
__device__ __forceinline__ void store_words(Bfloat16* to, const uint32_t (&words)[4], int count,
                                            bool aligned) {
  if (aligned) {
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t bits = i % 2 == 0 ? words[i / 2] & 0xFFFFu : words[i / 2] >> 16;
      if (i < count) to[i] = Bfloat16{static_cast<uint16_t>(bits)};
    }
  }
}

// Writes four results side by side, times a factor for rows g and one for rows g + 8, to the 16
// rows from `row` on and 32 columns from `column` on; nothing at and beyond `end` and `dim`.
__device__ __forceinline__ void store_results(const HeadRows<Bfloat16>& rows, int row, int end,
                                              int column, int dim, bool aligned,
                                              const float (*results)[4], float factor,
                                              float factor_below, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float scale = half == 0 ? factor : factor_below;
    const int target = row + lane / 4 + 8 * half;
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = pack_bf16(scale * results[i][2 * half], scale * results[i][2 * half + 1]);
    }
    gather_tile(words, lane);
    const int first = column + 8 * (lane % 4);
    if (target >= end || first >= dim) continue;
    store_words(rows.data + target * rows.stride + first, words, dim - first, aligned);
  }
  __syncwarp();  // what follows may be an instruction of the whole warp
}

// Which entries of a strip of results of 8 kTiles keys, from `first_key` on, dropout keeps: bit
// 16 half + 2 i + e of lane (g, t) is entry (g + 8 half, 2 t + e) of result i. `row` is the Philox
// position of row g, `first_key` a multiple of 32. Drawn before the scores are: a word a strip is
// all that has to be kept beside them.
template <int kTiles>
__device__ __forceinline__ uint32_t keep_bits(const Dropout& dropout, uint64_t seed, uint64_t row,
                                              int first_key, int lane) {
  uint32_t bits = 0;
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
#pragma unroll 1
    for (int i = 0; i < kTiles; i += 4) {
      const PhiloxQuad quad = philox_at(seed, 0, row + 8 * half, RandomStream::kAttention,
                                        static_cast<uint32_t>((first_key + 8 * i) / 8 + lane % 4));
      uint32_t kept = 0;
#pragma unroll
      for (int word = 0; word < 4; ++word) {
        kept |= uint32_t{(quad.word[word] & 0xFFFFu) >= dropout.threshold} << (2 * word);
        kept |= uint32_t{quad.word[word] >> 16 >= dropout.threshold} << (2 * word + 1);
      }
      bits |= kept << (16 * half + 2 * i);
    }
  }
  return bits;
}

__device__ __forceinline__ bool is_kept(uint32_t bits, int i, int e) {
  return (bits >> (16 * (e / 2) + 2 * i + e % 2) & 1u) != 0;
}

// Calls f(std::integral_constant<int, columns>) for the tile width that holds head_dim.
template <typename F>
void with_columns(int64_t dim, const F& f) {
  if (dim <= 32) return f(std::integral_constant<int, 32>());
  if (dim <= 64) return f(std::integral_constant<int, 64>());
  if (dim <= 96) return f(std::integral_constant<int, 96>());
  f(std::integral_constant<int, 128>());
}

}  // namespace lexforge
