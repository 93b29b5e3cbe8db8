// The instructions of common/tensor_core.cuh one at a time, and the tiles of tensor_tiles.cuh:
// test_tensor_core.py compares their results with NumPy.
#include <exception>
#include <string>

#include "attention/attention_mma.cuh"

namespace {

using lexforge::Bfloat16;
using lexforge::launch;

__device__ uint32_t pair(Bfloat16 low, Bfloat16 high) {
  return low.bits | static_cast<uint32_t>(high.bits) << 16;
}

// d [16, 8] += a [16, 16] b [16, 8], operands gathered element by element as the PTX manual lays
// them out for mma.m16n8k16.
__global__ void product_kernel(const Bfloat16* a, const Bfloat16* b, float* d) {
  const int lane = static_cast<int>(threadIdx.x), group = lane / 4, thread = lane % 4;
  uint32_t left[4], right[2];
  for (int i = 0; i < 4; ++i) {
    const Bfloat16* row = a + (group + i % 2 * 8) * 16 + 2 * thread + i / 2 * 8;
    left[i] = pair(row[0], row[1]);
  }
  for (int i = 0; i < 2; ++i) {
    const Bfloat16* column = b + (2 * thread + 8 * i) * 8 + group;
    right[i] = pair(column[0], column[8]);
  }
  float result[4];
  for (int i = 0; i < 4; ++i) result[i] = d[(group + i / 2 * 8) * 8 + 2 * thread + i % 2];
  lexforge::mma_bf16(result, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + 2 * thread + i % 2] = result[i];
}

// Four matrices of 8 x 8, one after another: words [32, 4] of every lane.
template <bool kTransposed>
__global__ void matrices_kernel(const Bfloat16* matrices, uint32_t* words) {
  __align__(16) __shared__ Bfloat16 staged[256];
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) staged[8 * lane + i] = matrices[8 * lane + i];
  __syncwarp();
  uint32_t result[4];
  lexforge::load_matrices<kTransposed>(result, staged, 8 * lane);
  for (int i = 0; i < 4; ++i) words[4 * lane + i] = result[i];
}

// d [16, n] = a [16, k] b [k, n] for the four ways in which operands come from tiles: a and b are
// stored as they are or transposed, rows of 32 k or n.
template <bool kLeftTransposed, bool kRightTransposed>
__global__ void tile_product_kernel(const Bfloat16* a, const Bfloat16* b, float* d) {
  constexpr int kSize = 32;
  LEXFORGE_DYNAMIC_SHARED(Bfloat16, left);
  Bfloat16* right = left + kSize * kSize;
  const int lane = static_cast<int>(threadIdx.x);
  lexforge::fetch_tile<kSize, kSize, 32>(left, {a, kSize}, 0, kSize, kSize, true);
  lexforge::fetch_tile<kSize, kSize, 32>(right, {b, kSize}, 0, kSize, kSize, true);
  lexforge::commit_copies();
  lexforge::wait_for_copies<0>();
  __syncwarp();
  for (int m = 0; m < kSize; m += 16) {
    float result[4][4] = {};
    for (int k = 0; k < kSize; k += 16) {
      for (int n = 0; n < 4; n += 2) {
        uint32_t x[4], y[4];
        if (kLeftTransposed) {
          lexforge::load_a_transposed<kSize>(x, left, k, m / 8, lane);
        } else {
          lexforge::load_a<kSize>(x, left, m, k / 8, lane);
        }
        if (kRightTransposed) {
          lexforge::load_b<kSize>(y, right, 8 * n, k / 8, lane);
        } else {
          lexforge::load_b_transposed<kSize>(y, right, k, n, lane);
        }
        lexforge::mma_bf16(result[n], x, y[0], y[1]);
        lexforge::mma_bf16(result[n + 1], x, y[2], y[3]);
      }
    }
    for (int n = 0; n < 4; ++n) {
      for (int i = 0; i < 4; ++i) {
        d[(m + lane / 4 + i / 2 * 8) * kSize + 8 * n + lane % 4 * 2 + i % 2] = result[n][i];
      }
    }
  }
}

template <int kColumns>
__global__ void offsets_kernel(int* offsets) {
  const int row = static_cast<int>(threadIdx.x);
  for (int chunk = 0; chunk < kColumns / 8; ++chunk) {
    offsets[row * (kColumns / 8) + chunk] = lexforge::tile_offset<kColumns>(row, chunk);
  }
}

// A number is on its way to shared memory; what a thread finds there before and after it waits.
// With `wanted` false it finds zero at last.
__global__ void copy_kernel(const float* from, bool wanted, float* found) {
  __align__(16) __shared__ float staged[4];
  for (int i = 0; i < 4; ++i) staged[i] = -1.0f;
  lexforge::copy_async<16>(staged, from, wanted);
  lexforge::commit_copies();
  lexforge::commit_copies();
  lexforge::wait_for_copies<2>();
  found[0] = staged[3];
  lexforge::wait_for_copies<1>();
  found[1] = staged[3];
}

__global__ void rounding_kernel(const float* values, int n, uint16_t* rounded) {
  for (int i = 0; i < n; i += 2) {
    const uint32_t packed = lexforge::pack_bf16(values[i], values[i + 1]);
    rounded[i] = static_cast<uint16_t>(packed);
    rounded[i + 1] = static_cast<uint16_t>(packed >> 16);
  }
}

template <typename Run>
const char* message_of(Run run) {
  static std::string message;
  try {
    run();
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

}  // namespace

// Each returns null, or the message of the error that the launch raised.
#define ENTRY extern "C" __attribute__((visibility("default"))) const char*

ENTRY product(const Bfloat16* a, const Bfloat16* b, float* d) {
  return message_of([&] { launch(product_kernel, 1, 32, 0, nullptr, a, b, d); });
}
ENTRY matrices(const Bfloat16* values, int transposed, uint32_t* words) {
  return message_of([&] {
    launch(transposed != 0 ? matrices_kernel<true> : matrices_kernel<false>, 1, 32, 0, nullptr,
           values, words);
  });
}
ENTRY tile_product(const Bfloat16* a, const Bfloat16* b, int a_transposed, int b_transposed,
                   float* d) {
  auto* kernel =
      a_transposed != 0
          ? (b_transposed != 0 ? tile_product_kernel<true, true> : tile_product_kernel<true, false>)
          : (b_transposed != 0 ? tile_product_kernel<false, true>
                               : tile_product_kernel<false, false>);
  return message_of([&] { launch(kernel, 1, 32, 2 * 32 * 32 * 2, nullptr, a, b, d); });
}
ENTRY offsets(int columns, int* result) {
  auto* kernel = columns == 32   ? offsets_kernel<32>
                 : columns == 64 ? offsets_kernel<64>
                 : columns == 96 ? offsets_kernel<96>
                                 : offsets_kernel<128>;
  return message_of([&] { launch(kernel, 1, 16, 0, nullptr, result); });
}
ENTRY copy(const float* from, int wanted, float* found) {
  return message_of([&] { launch(copy_kernel, 1, 1, 0, nullptr, from, wanted != 0, found); });
}
ENTRY rounding(const float* values, int n, uint16_t* rounded) {
  return message_of([&] { launch(rounding_kernel, 1, 1, 0, nullptr, values, n, rounded); });
}
