// Tiles of bfloat16 in shared memory, on their way into the operands of tensor-core instructions.
#pragma once

#include "common/tensor_core.cuh"

namespace lexforge {

// Chunks (16 bytes) of a row of a tile are turned such that eight rows' chunks of the same number
// lie in different banks: neither storing rows nor load_matrices ever waits for a bank.
template <int kColumns>
__device__ __forceinline__ int chunk_turn(int row) {
  static_assert(kColumns % 32 == 0);
  return kColumns % 64 == 0 ? row % 8 : row / 2 % 4;
}

// Where chunk `chunk` of row `row` of a tile of kColumns columns begins.
template <int kColumns>
__device__ __forceinline__ int tile_offset(int row, int chunk) {
  return row * kColumns + (chunk ^ chunk_turn<kColumns>(row)) * 8;
}

// The 16 x 16 elements at (row, 8 chunk) of a tile X, row a multiple of 16 and chunk even, as
//   load_a             operand a = X                load_a_transposed   operand a = X^T
//   load_b             two operands b = X^T, 16 x 8 each: of rows 0-7 (words 0, 1) and 8-15 (2, 3)
//   load_b_transposed  two operands b = X: of columns 0-7 and 8-15
// What depends on the lane is written apart, so that it is computed once for all of a kernel's.
template <int kColumns, bool kTransposed>
__device__ __forceinline__ void load_by_rows(uint32_t (&words)[4], const Bfloat16* tile, int row,
                                             int chunk, int lane) {
  const int lane_row = lane % 16, lane_chunk = lane / 16 ^ chunk_turn<kColumns>(lane_row);
  load_matrices<kTransposed>(words, tile,
                             lane_row * kColumns + row * kColumns + (lane_chunk ^ chunk) * 8);
}
template <int kColumns, bool kTransposed>
__device__ __forceinline__ void load_by_columns(uint32_t (&words)[4], const Bfloat16* tile, int row,
                                                int chunk, int lane) {
  const int lane_row = lane % 8 + lane / 16 * 8;
  const int lane_chunk = lane / 8 % 2 ^ chunk_turn<kColumns>(lane_row);
  load_matrices<kTransposed>(words, tile,
                             lane_row * kColumns + row * kColumns + (lane_chunk ^ chunk) * 8);
}
template <int kColumns>
__device__ __forceinline__ void load_a(uint32_t (&words)[4], const Bfloat16* tile, int row,
                                       int chunk, int lane) {
  load_by_rows<kColumns, false>(words, tile, row, chunk, lane);
}
template <int kColumns>
__device__ __forceinline__ void load_a_transposed(uint32_t (&words)[4], const Bfloat16* tile,
                                                  int row, int chunk, int lane) {
  load_by_columns<kColumns, true>(words, tile, row, chunk, lane);
}
template <int kColumns>
__device__ __forceinline__ void load_b(uint32_t (&words)[4], const Bfloat16* tile, int row,
                                       int chunk, int lane) {
  load_by_columns<kColumns, false>(words, tile, row, chunk, lane);
}
template <int kColumns>
__device__ __forceinline__ void load_b_transposed(uint32_t (&words)[4], const Bfloat16* tile,
                                                  int row, int chunk, int lane) {
  load_by_rows<kColumns, true>(words, tile, row, chunk, lane);
}

// Who fetches what of a tile: kLanes neighbouring threads a row, each every kLanes-th of its chunks
// and every kRowStep-th row. Neither step changes a chunk's turn, so that beyond the first chunk
// all offsets into the tile are constants.
template <int kColumns, int kThreads>
struct FetchPattern {
  static constexpr int kChunks = kColumns / 8, kLanes = kChunks & -kChunks;
  static constexpr int kRowStep = kThreads / kLanes;
  static_assert(kRowStep % 8 == 0);

  int row = static_cast<int>(threadIdx.x) / kLanes;
  int chunk = static_cast<int>(threadIdx.x) % kLanes;
  int offset = tile_offset<kColumns>(row, chunk);
};

}  // namespace lexforge
