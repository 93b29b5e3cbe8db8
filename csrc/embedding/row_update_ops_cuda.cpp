// CUDA binding of row_update.h. Row numbers are checked by the Python wrapper.
#include "common/cuda_binding.h"
#include "common/run_parts.h"
#include "common/sorted_rows.h"
#include "embedding/row_update_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t, typename stat_t>
  void run(const RowUpdateParams<scalar_t, stat_t>& params, const Tensor& weight,
           const Tensor& ids) const {
    const int64_t count = ids.numel();
    const SortedRows sorted = sort_ids(ids, params.rows, stream());
    const Tensor partial = new_empty(weight, {run_partials(count), params.dim}, kType<stat_t>);
    launch_row_update(
        RowUpdateCudaParams<scalar_t, stat_t>{params, data<const int32_t>(sorted.rows),
                                              data<const int32_t>(sorted.occurrences), count,
                                              data<stat_t>(partial)},
        stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) { m.impl("row_update_", TORCH_BOX(&lexforge::row_update<lexforge::Cuda>)); }
