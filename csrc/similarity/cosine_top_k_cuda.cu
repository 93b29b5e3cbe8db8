#include <algorithm>
#include <cstdint>

#include "common/tensor_core.cuh"
#include "common/warp.cuh"
#include "similarity/cosine_top_k.h"
#include "similarity/rank.h"

namespace lexforge {
namespace {

// ---- helpers ------------------------------------------------------------------------------------

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kQueriesPerWarp = 4, kQueries = kWarps * kQueriesPerWarp;  // of a block
constexpr int kRowsPerLane = 4, kTileRows = kRowsPerLane * kWarp;
constexpr int kDepth = 16;             // dimensions in shared memory at a time
constexpr int kPitch = kTileRows + 4;  // two lanes at most meet in a bank when a tile is written
constexpr int kBest = static_cast<int>(kRanksPerPass);
constexpr int kSlots = kBest / kWarp;
constexpr int kBlocksPerMultiprocessor = 3;

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(Bfloat16 x) { return to_float(x); }
__device__ __forceinline__ float number(Half x) {
  const uint32_t magnitude = (x.bits & 0x7FFFu) << 13;
  // From the exponent's bias of 15 to that of 127; what is denormal becomes normal.
  uint32_t bits = __float_as_uint(__uint_as_float(magnitude) * 0x1p112f);
  if (magnitude >= 0x0F800000u) bits |= 0x7F800000u;  // infinite, NaN
  return __uint_as_float(bits | (x.bits & 0x8000u) << 16);
}

// The best ranks of a query, descending, in shared memory: a warp's own. `least` is the last of
// them, in every lane.
struct BestOfWarp {
  uint64_t* ranks;  // [most]
  int most;         // 1 <= most <= kBest
  uint64_t least;

  __device__ __forceinline__ void clear(int lane) {
    for (int i = lane; i < most; i += kWarp) ranks[i] = kNoRank;
    least = kNoRank;
    __syncwarp();
  }

  // A rank that is larger than `least`, the same in every lane, and none of those there.
  __device__ __forceinline__ void insert(uint64_t rank, int lane) {
    uint64_t before[kSlots];  // what moves into a slot of this lane
    int place = 0;
#pragma unroll
    for (int j = 0; j < kSlots; ++j) {
      const int i = lane + j * kWarp;
      place += __popc(__ballot_sync(kAllLanes, i < most && ranks[i] > rank));
      before[j] = 0 < i && i < most ? ranks[i - 1] : kNoRank;
    }
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kSlots; ++j) {
      const int i = lane + j * kWarp;
      if (place <= i && i < most) ranks[i] = i == place ? rank : before[j];
    }
    __syncwarp();
    least = ranks[most - 1];
  }

  // Those of the lanes' ranks that are good enough and that `wanted(rank)` takes, which all lanes
  // decide together.
  template <typename Wanted>
  __device__ __forceinline__ void add(uint64_t rank, int lane, const Wanted& wanted) {
    unsigned lanes = __ballot_sync(kAllLanes, rank > least);
    while (lanes != 0) {
      const int above = __clz(static_cast<int>(lanes));
      const uint64_t next = __shfl_sync(kAllLanes, rank, kWarp - 1 - above);
      lanes ^= 0x80000000u >> above;
      if (next > least && wanted(next)) insert(next, lane);
    }
  }
};

// What the kernels share: ranks found by block b for query q are found[(q * blocks + b) * most].
struct Found {
  uint64_t* ranks;    // [Q, blocks, most]
  uint64_t* reached;  // [Q] the last rank of the pass before, which this one stays below
  int blocks, most;
  int64_t pass;
};

// ---- kernels ------------------------------------------------------------------------------------

// A block has 16 queries and a range of rows, and goes through them in tiles of 128 rows; 16
// dimensions of a tile and of the queries are in shared memory at a time, transposed. A warp has
// four queries, a lane four rows: their 16 products stay in registers until the dimensions are
// done, and then go into the warp's lists.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    search_rows_kernel(CosineTopKParams<scalar_t> params, Found found) {
  __shared__ __align__(16) float tile[kDepth * kPitch];
  __shared__ __align__(16) float units[kDepth * kQueries];
  __shared__ double factors[kQueries];
  __shared__ uint64_t ranks[kQueries * kBest];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const int64_t first_query = int64_t{blockIdx.x} * kQueries, dim = params.dim;

  BestOfWarp best[kQueriesPerWarp];
  uint64_t reached[kQueriesPerWarp];
#pragma unroll
  for (int n = 0; n < kQueriesPerWarp; ++n) {
    const int place = warp * kQueriesPerWarp + n;
    const int64_t q = first_query + place;
    best[n] = {ranks + place * kBest, found.most, kNoRank};
    best[n].clear(lane);
    double sum = 0;
    if (q < params.count) {
      for (int64_t d = lane; d < dim; d += kWarp) {
        const double x = params.queries[q * dim + d];
        sum += x * x;
      }
    }
    const double length = sqrt(warp_sum(sum));
    if (lane == 0) factors[place] = 1 / (length < kLeastNorm ? kLeastNorm : length);
    reached[n] = found.pass > 0 && q < params.count ? found.reached[q] : ~uint64_t{0};
  }

  const int64_t rows = params.last - params.first, tiles = (rows + kTileRows - 1) / kTileRows;
  const int64_t last_tile = tiles * (blockIdx.y + 1) / found.blocks;
  for (int64_t t = tiles * blockIdx.y / found.blocks; t < last_tile; ++t) {
    const int64_t first_row = params.first + t * kTileRows;
    float sum[kQueriesPerWarp][kRowsPerLane] = {};
    for (int64_t begin = 0; begin < dim; begin += kDepth) {
      __syncthreads();
      const int d = thread % kDepth;
      const bool within = begin + d < dim;
#pragma unroll
      for (int i = 0; i < kTileRows / (kThreads / kDepth); ++i) {
        const int r = thread / kDepth + i * (kThreads / kDepth);
        const int64_t row = first_row + r;
        tile[d * kPitch + r] = within && row < params.last
                                   ? number(params.table[row * params.stride + begin + d])
                                   : 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kQueries / (kThreads / kDepth); ++i) {
        const int n = thread / kDepth + i * (kThreads / kDepth);
        const int64_t q = first_query + n;
        units[d * kQueries + n] =
            within && q < params.count
                ? static_cast<float>(factors[n] * params.queries[q * dim + begin + d])
                : 0.0f;
      }
      __syncthreads();
#pragma unroll
      for (int e = 0; e < kDepth; ++e) {
        const float4 x = *reinterpret_cast<const float4*>(tile + e * kPitch + lane * kRowsPerLane);
        const float4 y =
            *reinterpret_cast<const float4*>(units + e * kQueries + warp * kQueriesPerWarp);
        const float of_row[kRowsPerLane] = {x.x, x.y, x.z, x.w};
        const float of_query[kQueriesPerWarp] = {y.x, y.y, y.z, y.w};
#pragma unroll
        for (int n = 0; n < kQueriesPerWarp; ++n) {
#pragma unroll
          for (int i = 0; i < kRowsPerLane; ++i) {
            sum[n][i] = __fmaf_rn(of_row[i], of_query[n], sum[n][i]);
          }
        }
      }
    }
#pragma unroll 1  // the lists are much code, which is there for each query and not for each row
    for (int i = 0; i < kRowsPerLane; ++i) {
      const int64_t row = first_row + lane * kRowsPerLane + i;
      const float norm = row < params.last ? params.norms[row] : 1.0f;
      constexpr auto kLeast = static_cast<float>(kLeastNorm);
      const float inverse = 1.0f / (norm < kLeast ? kLeast : norm);  // NaN stays
#pragma unroll
      for (int n = 0; n < kQueriesPerWarp; ++n) {
        const int64_t q = first_query + warp * kQueriesPerWarp + n;
        if (q >= params.count) continue;
        float product = sum[n][0];
#pragma unroll
        for (int other = 1; other < kRowsPerLane; ++other) {
          product = i == other ? sum[n][other] : product;
        }
        uint64_t rank = row < params.last ? rank_of(product * inverse, row) : kNoRank;
        if (rank >= reached[n]) rank = kNoRank;
        best[n].add(rank, lane, [&](uint64_t next) {
          bool excluded = false;
          for (int64_t e = lane; e < params.most_excluded; e += kWarp) {
            excluded |= params.excluded[q * params.most_excluded + e] == row_of(next);
          }
          return !__any_sync(kAllLanes, excluded);
        });
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kQueriesPerWarp; ++n) {
    const int64_t q = first_query + warp * kQueriesPerWarp + n;
    if (q >= params.count) continue;
    uint64_t* to = found.ranks + (q * found.blocks + blockIdx.y) * found.most;
    for (int i = lane; i < found.most; i += kWarp) to[i] = best[n].ranks[i];
  }
}

// A warp has a query: the best of what the blocks have found.
__global__ void __launch_bounds__(kThreads)
    join_ranks_kernel(Found found, int64_t count, int64_t k, int64_t* ids, float* scores) {
  __shared__ uint64_t ranks[kWarps * kBest];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t q = int64_t{blockIdx.x} * kWarps + warp;
  if (q >= count) return;
  BestOfWarp best{ranks + warp * kBest, found.most, kNoRank};
  best.clear(lane);
  const int64_t all = int64_t{found.blocks} * found.most;
  for (int64_t i = 0; i < all; i += kWarp) {
    const uint64_t rank = i + lane < all ? found.ranks[q * all + i + lane] : kNoRank;
    best.add(rank, lane, [](uint64_t) { return true; });
  }
  const int64_t begin = found.pass * kBest;
  for (int i = lane; i < found.most; i += kWarp) {
    const uint64_t rank = best.ranks[i];
    ids[q * k + begin + i] = row_of(rank);
    scores[q * k + begin + i] = score_of(rank);
  }
  if (lane == 0) found.reached[q] = best.least;
}

}  // namespace

// ---- launchers ----------------------------------------------------------------------------------

namespace {

struct Grid {
  int64_t queries, groups, blocks, most;  // at a time; blocks for each group of queries

  template <typename scalar_t>
  explicit Grid(const CosineTopKParams<scalar_t>& params) {
    int device = 0, multiprocessors = 0;
    check_cuda(cudaGetDevice(&device), "device");
    check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
               "multiprocessors");
    const int64_t tiles = (params.last - params.first + kTileRows - 1) / kTileRows;
    queries = std::min(params.count, kQueriesPerLaunch);
    groups = (queries + kQueries - 1) / kQueries;
    blocks = (int64_t{kBlocksPerMultiprocessor} * multiprocessors + groups - 1) / groups;
    blocks = std::clamp<int64_t>(blocks, 1, std::max<int64_t>(1, tiles));
    most = std::min(params.k, kRanksPerPass);
  }
};

}  // namespace

template <typename scalar_t>
int64_t cosine_top_k_workspace(const CosineTopKParams<scalar_t>& params) {
  const Grid grid(params);
  return grid.queries * (grid.blocks * grid.most + 1);
}

template <typename scalar_t>
void launch_cosine_top_k(const CosineTopKParams<scalar_t>& params, uint64_t* workspace,
                         void* stream) {
  const Grid grid(params);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  for (int64_t begin = 0; begin < params.count; begin += grid.queries) {
    CosineTopKParams<scalar_t> some = params;
    some.queries += begin * params.dim;
    some.excluded += begin * params.most_excluded;
    some.ids += begin * params.k;
    some.scores += begin * params.k;
    some.count = std::min(grid.queries, params.count - begin);
    const auto groups = static_cast<uint32_t>((some.count + kQueries - 1) / kQueries);
    for (int64_t pass = 0; pass * kRanksPerPass < params.k; ++pass) {
      const int64_t most = std::min(grid.most, params.k - pass * kRanksPerPass);
      const Found found{workspace + grid.queries, workspace, static_cast<int>(grid.blocks),
                        static_cast<int>(most), pass};
      launch(search_rows_kernel<scalar_t>, dim3(groups, static_cast<uint32_t>(grid.blocks)),
             dim3(kThreads), 0, cuda_stream, some, found);
      launch(join_ranks_kernel, dim3(blocks_for(some.count, kWarps)), dim3(kThreads), 0,
             cuda_stream, found, some.count, some.k, some.ids, some.scores);
    }
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                        \
  template int64_t cosine_top_k_workspace(const CosineTopKParams<scalar_t>&); \
  template void launch_cosine_top_k(const CosineTopKParams<scalar_t>&, uint64_t*, void*);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(Bfloat16)
LEXFORGE_INSTANTIATE(Half)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
