// Sums over runs of sorted occurrences of table rows, a warp at a time.
#pragma once

#include "common/run_parts.h"
#include "common/warp.cuh"

namespace lexforge {

constexpr int kRowWarps = 4;  // warps of a block; each works on its own

__device__ __forceinline__ int64_t global_warp() {
  return int64_t{blockIdx.x} * kRowWarps + threadIdx.x / kWarp;
}

// Whether a run of equal keys, of a row below `rows`, starts at i.
__device__ __forceinline__ bool run_starts(const int32_t* keys, int64_t n, int64_t rows,
                                           int64_t i) {
  return i < n && keys[i] < rows && (i == 0 || keys[i - 1] != keys[i]);
}

// A row's run among sorted occurrences is summed in parts, cut where the occurrence's number is a
// multiple of kRunPart, so that a frequent row's sum is the work of many warps. A part that is no
// whole run leaves its sum in a row of `partial` [run_partials(n), dim], and a second kernel adds
// these up in order: every sum is the same function of the batch, whatever the device.
constexpr int kRunPart = static_cast<int>(kRunPartOccurrences);
static_assert(kRunPart == kWarp, "a lane looks at each occurrence of a part");

struct RunPart {
  int count;        // of occurrences; 0 when no part starts here
  bool whole;       // the run has no other part
  int64_t partial;  // row of the part's sum
};

// The part that starts at i; 0 when none does or its row is not below `rows`.
__device__ __forceinline__ RunPart run_part_at(const int32_t* keys, int64_t n, int64_t rows,
                                               int64_t i) {
  const bool starts = run_starts(keys, n, rows, i);
  const int before = static_cast<int>(i % kRunPart), room = kRunPart - before;
  if (!starts && (before > 0 || i >= n || keys[i] >= rows)) return {};
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const bool same = lane < room && i + lane < n && keys[i + lane] == keys[i];
  const int count = __popc(__ballot_sync(kAllLanes, same));
  const bool goes_on = count == room && i + room < n && keys[i + room] == keys[i];
  return {count, starts && !goes_on, 2 * (i / kRunPart) + starts};
}

// The number of parts of the run that starts among occurrences [c kRunPart, (c + 1) kRunPart) and
// goes on beyond them; 0 when there is none. Its sum is that of the rows 2 c + 1, 2 (c + 1),
// 2 (c + 2), ... of `partial`.
__device__ __forceinline__ int64_t run_parts_from(const int32_t* keys, int64_t n, int64_t rows,
                                                  int64_t c) {
  const int64_t first = c * kRunPart, next = first + kRunPart;
  if (next >= n) return 0;
  const int32_t row = keys[next];
  if (row >= rows || keys[next - 1] != row || (first > 0 && keys[first - 1] == row)) return 0;
  int64_t parts = 1;
  unsigned same = kAllLanes;
  for (int64_t from = next; same == kAllLanes; from += int64_t{kWarp} * kRunPart) {
    const int64_t start = from + static_cast<int64_t>(threadIdx.x % kWarp) * kRunPart;
    same = __ballot_sync(kAllLanes, start < n && keys[start] == row);
    parts += __popc(same);
  }
  return parts;
}

// Element d of the sum over those parts.
template <typename T>
__device__ __forceinline__ T sum_parts(const T* partial, int64_t dim, int64_t c, int64_t parts,
                                       int64_t d) {
  T sum = partial[(2 * c + 1) * dim + d];
#pragma unroll 4
  for (int64_t p = 1; p < parts; ++p) sum += partial[2 * (c + p) * dim + d];
  return sum;
}

}  // namespace lexforge
