#include "common/octets.cuh"
#include "common/run_parts.cuh"
#include "embedding/row_update.h"

namespace lexforge {
namespace {

constexpr int kRowThreads = kRowWarps * kWarp;

// The factors of a step in the type that is computed in.
template <typename stat_t>
struct Factors {
  stat_t lr, weight_decay, decay1, fresh1, decay2, fresh2, epsilon;
  template <typename scalar_t>
  __device__ __forceinline__ explicit Factors(const RowUpdateParams<scalar_t, stat_t>& params)
      : lr(static_cast<stat_t>(params.lr)),
        weight_decay(static_cast<stat_t>(params.weight_decay)),
        decay1(static_cast<stat_t>(params.decay1)),
        fresh1(static_cast<stat_t>(params.fresh1)),
        decay2(static_cast<stat_t>(params.decay2)),
        fresh2(static_cast<stat_t>(params.fresh2)),
        epsilon(static_cast<stat_t>(params.epsilon)) {}
};

// The step of one row by a warp, whose lane l has the elements l, l + 32, ... sum_at(d) is element
// d of the gradients' sum, called by all lanes with d < D + 31, anything from D on.
template <typename scalar_t, typename stat_t, typename SumAt>
__device__ __forceinline__ void step_row(const RowUpdateParams<scalar_t, stat_t>& params,
                                         int64_t row, const SumAt& sum_at) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t dim = params.dim;
  const Factors<stat_t> by(params);
  scalar_t* weight = params.weight + row * dim;
  stat_t row_sum = 0;
  if (params.rule == RowRule::kRowwiseAdagrad) {
    for (int64_t d = lane; d - lane < dim; d += kWarp) {
      const stat_t sum = sum_at(d);
      const stat_t g = d < dim ? sum + by.weight_decay * number(weight[d]) : stat_t(0);
      row_sum += g * g;
    }
    row_sum = params.first[row] + warp_sum(row_sum) / static_cast<stat_t>(dim);
    __syncwarp();
    if (lane == 0) params.first[row] = row_sum;
  }
  for (int64_t d = lane; d - lane < dim; d += kWarp) {
    const stat_t sum = sum_at(d);
    if (d >= dim) continue;
    const int64_t i = row * dim + d;
    const stat_t p = number(weight[d]);
    stat_t g = sum + by.weight_decay * p;
    switch (params.rule) {
      case RowRule::kSgd:
        break;
      case RowRule::kMomentum:
      case RowRule::kNesterov: {
        const stat_t m = by.decay1 * params.first[i] + by.fresh1 * g;
        params.first[i] = m;
        g = params.rule == RowRule::kNesterov ? g + by.decay1 * m : m;
        break;
      }
      case RowRule::kAdagrad: {
        const stat_t s = params.first[i] + g * g;
        params.first[i] = s;
        g /= sqrt(s) + by.epsilon;
        break;
      }
      case RowRule::kRowwiseAdagrad:
        g /= sqrt(row_sum) + by.epsilon;
        break;
      case RowRule::kAdam: {
        const stat_t m = by.decay1 * params.first[i] + by.fresh1 * g;
        const stat_t v = by.decay2 * params.second[i] + by.fresh2 * g * g;
        params.first[i] = m;
        params.second[i] = v;
        g = m / (sqrt(v) + by.epsilon);
        break;
      }
    }
    store_number(weight + d, p - by.lr * g);
  }
  if (lane == 0 && params.touched != nullptr) params.touched[row] = kRowDone;
}

// One warp per occurrence, of which the first of each part works: it makes the row's step, or keeps
// the part's sum.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kRowThreads)
    row_update_kernel(RowUpdateCudaParams<scalar_t, stat_t> params) {
  const int64_t i = global_warp();
  const RowUpdateParams<scalar_t, stat_t>& update = params.update;
  const RunPart part = run_part_at(params.sorted_id, params.count, update.rows, i);
  if (part.count == 0) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t dim = update.dim;
  const int32_t of = lane < part.count ? params.sorted_i[i + lane] : 0;
  const auto sum_at = [&](int64_t d) {
    const scalar_t* column = update.gradients + (d < dim ? d : 0);
    stat_t sum = 0;
#pragma unroll 2
    for (int m = 0; m < part.count; ++m) {
      sum += number(column[__shfl_sync(kAllLanes, of, m) * dim]);
    }
    return sum;
  };
  if (part.whole) {
    step_row(update, params.sorted_id[i], sum_at);
    return;
  }
  stat_t* partial = params.partial + part.partial * dim;
  for (int64_t d = lane; d - lane < dim; d += kWarp) {
    const stat_t sum = sum_at(d);
    if (d < dim) partial[d] = sum;
  }
}

// One warp for every kRunPart occurrences: the step of the row whose run starts there and goes on.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kRowThreads)
    row_update_join_kernel(RowUpdateCudaParams<scalar_t, stat_t> params) {
  const int64_t c = global_warp(), dim = params.update.dim;
  const int64_t parts = run_parts_from(params.sorted_id, params.count, params.update.rows, c);
  if (parts == 0) return;
  step_row(params.update, params.sorted_id[(c + 1) * kRunPart], [&](int64_t d) {
    return d < dim ? sum_parts(params.partial, dim, c, parts, d) : stat_t(0);
  });
}

// One warp per row: the step of one that does not occur.
template <typename scalar_t, typename stat_t>
__global__ void __launch_bounds__(kRowThreads)
    row_update_rest_kernel(RowUpdateParams<scalar_t, stat_t> params, bool all, bool some) {
  const int64_t row = global_warp();
  if (row >= params.rows) return;
  const uint8_t flag = params.touched[row];
  const bool done = flag == kRowDone, moves = !done && (all || (some && flag == kRowTouched));
  __syncwarp();
  if (moves) step_row(params, row, [](int64_t) { return stat_t(0); });
  __syncwarp();
  if ((moves || done) && threadIdx.x % kWarp == 0) params.touched[row] = kRowTouched;
}

}  // namespace

template <typename scalar_t, typename stat_t>
void launch_row_update(const RowUpdateCudaParams<scalar_t, stat_t>& params, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const RowUpdateParams<scalar_t, stat_t>& update = params.update;
  const dim3 block(kRowThreads);
  if (params.count > 0) {
    launch(row_update_kernel<scalar_t, stat_t>, dim3(blocks_for(params.count, kRowWarps)), block, 0,
           cuda_stream, params);
  }
  if (params.count > kRunPart) {  // among fewer no run goes on
    launch(row_update_join_kernel<scalar_t, stat_t>,
           dim3(blocks_for(params.count, kRunPart * kRowWarps)), block, 0, cuda_stream, params);
  }
  if (update.touched != nullptr) {
    launch(row_update_rest_kernel<scalar_t, stat_t>, dim3(blocks_for(update.rows, kRowWarps)),
           block, 0, cuda_stream, update, update.weight_decay != 0, has_momentum(update.rule));
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t) \
  template void launch_row_update(const RowUpdateCudaParams<scalar_t, stat_t>&, void*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
