// Rows of word2vec's tables across a warp, and how they change: by atomic additions at once, or, in
// rounds, by sums that are added to the table when the round has ended (word2vec_train_cuda.h).
#pragma once

#include "common/warp.cuh"
#include "word2vec/cuda/launches.h"

namespace lexforge::word2vec {

// A row of a table and a number that goes with it, in one of the warp's lists.
struct alignas(8) Entry {
  int32_t row;  // -1: none, or a noise word that is left out
  float value;
};

// A table row across a warp: lane l holds floats 4 l .. 4 l + 3 of every 128.
template <int kPacks>
struct Row {
  float4 pack[kPacks];
};

__device__ __forceinline__ float4 fma4(float a, float4 x, float4 y) {
  return make_float4(fmaf(a, x.x, y.x), fmaf(a, x.y, y.y), fmaf(a, x.z, y.z), fmaf(a, x.w, y.w));
}

__device__ __forceinline__ float4 scaled(float a, float4 x) {
  return make_float4(a * x.x, a * x.y, a * x.z, a * x.w);
}

template <int kPacks>
__device__ __forceinline__ float dot_part(const Row<kPacks>& a, const Row<kPacks>& b) {
  float sum = 0.0f;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    sum = fmaf(a.pack[p].x, b.pack[p].x, sum);
    sum = fmaf(a.pack[p].y, b.pack[p].y, sum);
    sum = fmaf(a.pack[p].z, b.pack[p].z, sum);
    sum = fmaf(a.pack[p].w, b.pack[p].w, sum);
  }
  return sum;
}

// sum += scale * row.
template <int kPacks>
__device__ __forceinline__ void accumulate(Row<kPacks>& sum, float scale, const Row<kPacks>& row) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) sum.pack[p] = fma4(scale, row.pack[p], sum.pack[p]);
}

template <int kPacks>
__device__ __forceinline__ void zero_row(Row<kPacks>& row) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) row.pack[p] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// row *= scale.
template <int kPacks>
__device__ __forceinline__ void scale_row(Row<kPacks>& row, float scale) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) row.pack[p] = scaled(scale, row.pack[p]);
}

__device__ __forceinline__ unsigned long long fixed_point(float x) {
  return static_cast<unsigned long long>(__float2ll_rn(x * kFixedOne));
}

// A table as one lane sees it, in units of four floats: a table has fewer than 2^32 of those.
template <int kPacks, bool kRounds>
struct Table {
  float4* start;
  uint32_t stride;
  int lane;
  RoundSums sums;  // of a round

  __device__ Table(float* table, const RoundSums& sums, const Launch& launch, int lane)
      : start(reinterpret_cast<float4*>(table)), stride(launch.row_packs), lane(lane), sums(sums) {}

  // Rows are longer than what the next smaller number of packs holds.
  __device__ bool used(int pack) const {
    return pack < (kPacks <= 4 ? kPacks - 1 : kPacks / 2) || column(pack) < stride;
  }
  __device__ uint32_t column(int pack) const { return static_cast<uint32_t>(lane + pack * kWarp); }

  // Zeros past the row's end, and for row -1.
  __device__ __forceinline__ void load(Row<kPacks>& into, int32_t row) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) into.pack[p] = load_live4(at(row, p), row >= 0 && used(p));
  }

  // row += scale * addend, nothing for row -1.
  __device__ __forceinline__ void add(int32_t row, const Row<kPacks>& addend,
                                      float scale = 1.0f) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      if (row >= 0 && used(p)) add4(row, p, scaled(scale, addend.pack[p]));
    }
  }

  // rows[r] += scale[r] * v. Mostly all rows are there, and one branch does for all of them.
  template <int kRows>
  __device__ __forceinline__ void add_scaled(const int32_t (&row)[kRows],
                                             const float (&scale)[kRows],
                                             const Row<kPacks>& v) const {
    bool all = true;
#pragma unroll
    for (int r = 0; r < kRows; ++r) all &= row[r] >= 0;
    if (all) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        if (!used(p)) continue;
#pragma unroll
        for (int r = 0; r < kRows; ++r) add4(row[r], p, scaled(scale[r], v.pack[p]));
      }
    } else {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int p = 0; p < kPacks; ++p) {
          if (row[r] >= 0 && used(p)) add4(row[r], p, scaled(scale[r], v.pack[p]));
        }
      }
    }
  }

  __device__ float4* at(int32_t row, int pack) const {
    return start + (static_cast<uint32_t>(row) * stride + column(pack));
  }

  // The round draws this lane's row n times, which has to be known of every row that it adds to.
  __device__ __forceinline__ void count(int32_t row, float n) const {
    if constexpr (kRounds) {
      if (row >= 0) atomicAdd(sums.draws + row, static_cast<int32_t>(n));
    }
  }

 private:
  __device__ __forceinline__ void add4(int32_t row, int pack, float4 x) const {
    if constexpr (!kRounds) {
      atomic_add4(at(row, pack), x);
    } else {
      if (!(fabsf(x.x) < kMostChange && fabsf(x.y) < kMostChange && fabsf(x.z) < kMostChange &&
            fabsf(x.w) < kMostChange)) {
        *sums.diverged = 1;
        return;
      }
      unsigned long long* sum =
          sums.start + (uint64_t{4} * static_cast<uint32_t>(row) * stride + column(pack));
      atomicAdd(sum, fixed_point(x.x));
      atomicAdd(sum + stride, fixed_point(x.y));
      atomicAdd(sum + 2 * stride, fixed_point(x.z));
      atomicAdd(sum + 3 * stride, fixed_point(x.w));
    }
  }
};

template <int kPacks, bool kRounds>
struct Tables {
  Table<kPacks, kRounds> in, out, tree;
  const float* in_scale;

  __device__ Tables(const Word2vecTrainParams<float>& params, const Launch& launch, int lane)
      : in(params.in_table, launch.round.in, launch, lane),
        out(params.out_table, launch.round.out, launch, lane),
        tree(params.tree_table, launch.round.tree, launch, lane),
        in_scale(params.in_scale) {}

  // What a context's row would change by.
  __device__ __forceinline__ void add_in(int32_t row, const Row<kPacks>& change) const {
    in.add(row, change, in_scale == nullptr ? 1.0f : in_scale[row]);
  }

  // The same of `count` rows, one a lane.
  __device__ __forceinline__ void add_in_rows(int32_t row, int32_t count,
                                              const Row<kPacks>& change) const {
    const float scale = in_scale == nullptr || row < 0 ? 1.0f : in_scale[row];
#pragma unroll 4
    for (int32_t n = 0; n < count; ++n) {
      in.add(__shfl_sync(kAllLanes, row, n), change, __shfl_sync(kAllLanes, scale, n));
    }
  }
};

// The sigmoid is within a few units of the last place for logits around zero; __expf loses some 25
// of them at 20, where it no longer matters. The logarithm of [1, 2], which goes into the loss
// alone, is within 2^-21.4 = 3.6e-7.
struct Sigmoid {
  float value;
  float log_rest;  // log(1 + exp(-|x|))

  __device__ explicit Sigmoid(float x) {
    const float e = __expf(-fabsf(x));
    value = __fdividef(x < 0.0f ? e : 1.0f, 1.0f + e);
    log_rest = __logf(1.0f + e);
  }
};

// label - sigmoid(x), and adds weight times the loss.
__device__ __forceinline__ float logistic(float x, bool positive, float weight, float& loss) {
  const Sigmoid sigmoid(x);
  loss += weight * (sigmoid.log_rest - fminf(positive ? x : -x, 0.0f));
  return (positive ? 1.0f : 0.0f) - sigmoid.value;
}

// A target of one input, which has label 1 `positives` times, and 0 `negatives` times, each with
// the weight `each`.
struct Labels {
  float positives, negatives, each;

  __device__ float pairs() const { return positives + negatives * each; }
};

// What the changes of a row with these labels by one input, whose errors come from the row before
// them, sum up to: (1) times the input. Every change of the input sees those of the row before it,
// which adds to it (2) times the input.
struct Errors {
  float sum;      // (1)
  float repeats;  // (2): half of the sum's square without the squares of its terms

  __device__ Errors(float x, float lr, const Labels& labels, float& loss) {
    const Sigmoid sigmoid(x);
    loss += labels.positives * (sigmoid.log_rest - fminf(x, 0.0f)) +
            labels.negatives * labels.each * (sigmoid.log_rest - fminf(-x, 0.0f));
    const float up = lr * (1.0f - sigmoid.value), down = lr * labels.each * sigmoid.value;
    sum = labels.positives * up - labels.negatives * down;
    const float squares = labels.positives * up * up + labels.negatives * down * down;
    repeats = labels.positives + labels.negatives > 1.0f ? 0.5f * (sum * sum - squares) : 0.0f;
  }
};

}  // namespace lexforge::word2vec
