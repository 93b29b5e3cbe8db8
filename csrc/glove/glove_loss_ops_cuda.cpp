// CUDA binding of glove_loss.h.
#include "common/cuda_binding.h"
#include "common/sorted_rows.h"
#include "glove/glove_loss_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t>
  void run(const GloveLossParams<scalar_t>& params) const {
    launch_glove_loss(params, stream());
  }

  template <typename scalar_t>
  void run(const GloveLossSide<scalar_t>& side, const Tensor& ids, const Tensor& table) const {
    const int64_t n = ids.size(0);
    if (n == 0) return;
    const SortedRows sorted = sort_ids(ids, table.size(0), stream());
    const int64_t chunks = (n + kGloveLossChunk - 1) / kGloveLossChunk;
    const Tensor partial = new_empty(table, {2 * chunks, side.dim + 1});
    launch_glove_loss_grad(
        GloveLossCudaSide<scalar_t>{side, n, table.size(0), data<const int32_t>(sorted.rows),
                                    data<const int32_t>(sorted.occurrences),
                                    data<scalar_t>(partial)},
        stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("glove_loss", TORCH_BOX(&lexforge::glove_loss<lexforge::Cuda>));
  m.impl("glove_loss_backward", TORCH_BOX(&lexforge::glove_loss_backward<lexforge::Cuda>));
}
