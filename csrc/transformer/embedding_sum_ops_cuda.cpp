// CUDA binding of embedding_sum.h.
#include "common/cuda_binding.h"
#include "common/sorted_rows.h"
#include "transformer/embedding_sum_binding.h"

namespace lexforge {
namespace {

// A group has at least so many rows, and there are at most so many groups: three blocks for each
// multiprocessor of an H100, fewer for a smaller problem.
constexpr int64_t kRowsPerGroup = 8;
constexpr int64_t kMaxGroups = 396;

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  static int64_t rows_per_group(int64_t count) {
    return std::max(kRowsPerGroup, (count + kMaxGroups - 1) / kMaxGroups);
  }

  template <typename out_t, typename stat_t>
  void run(const EmbeddingSumParams<out_t, stat_t>& params) const {
    launch_embedding_sum(params, stream());
  }

  template <typename out_t, typename stat_t>
  void run(const EmbeddingSumBackwardParams<out_t, stat_t>& params,
           const EmbeddingGradients* norm) const {
    launch_embedding_sum_backward(params, stream());
    if (norm == nullptr) return;
    const int64_t groups = (params.rows.count + params.group - 1) / params.group;
    launch_embedding_group_sums<stat_t>(params.partial, groups, params.rows.width,
                                        data<stat_t>(norm->weight), data<stat_t>(norm->bias),
                                        stream());
  }

  // The sums of the rows of `from` [T, H] by id: sorted, so that what this costs does not grow with
  // the table, or directly where the table is short.
  template <typename from_t, typename stat_t>
  void table_gradient(const from_t* from, const Tensor& ids, const Tensor& grad,
                      bool may_be_long) const {
    const int64_t count = ids.size(0), rows = grad.size(0), width = grad.size(1);
    if (!may_be_long && rows <= kShortTable && count > 0) {
      const int64_t range = short_range(count, rows), ranges = (count + range - 1) / range;
      const Tensor partial = new_empty(grad, {ranges == 1 ? 0 : ranges * rows, width});
      return launch_embedding_short_sums(
          EmbeddingShortSums<from_t, stat_t>{from, data<const int32_t>(ids), count, rows, width,
                                             range, data<stat_t>(grad), data<stat_t>(partial)},
          stream());
    }
    Tensor zeros = grad;  // the same memory
    torch::stable::zero_(zeros);
    if (count == 0) return;
    const SortedRows sorted = sort_ids(ids, rows, stream());
    const int64_t parts = (count + kEmbeddingPart - 1) / kEmbeddingPart;
    const Tensor partial = new_empty(grad, {2 * parts, width});
    launch_embedding_grad_sums(
        EmbeddingCudaSums<from_t, stat_t>{from, data<const int32_t>(sorted.rows),
                                          data<const int32_t>(sorted.occurrences), count, rows,
                                          width, data<stat_t>(grad), data<stat_t>(partial)},
        stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("embedding_sum", TORCH_BOX(&lexforge::embedding_sum<lexforge::Cuda>));
  m.impl("embedding_sum_backward", TORCH_BOX(&lexforge::embedding_sum_backward<lexforge::Cuda>));
}
