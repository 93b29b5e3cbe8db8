// CUDA binding of embedding_bag.h.
#include "common/cuda_binding.h"
#include "common/run_parts.h"
#include "common/sorted_rows.h"
#include "embedding/embedding_bag_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t, typename stat_t>
  void run(const EmbeddingBagParams<scalar_t, stat_t>& params) const {
    launch_embedding_bag(params, stream());
  }

  template <typename scalar_t, typename stat_t>
  void run(const EmbeddingBagWeightsParams<scalar_t, stat_t>& params) const {
    launch_embedding_bag_weights(params, stream());
  }

  template <typename scalar_t, typename stat_t>
  void sum_by_row(BagGradient<scalar_t, stat_t> gradient, const Bags& bags, BagMode mode,
                  bool by_frequency, const Tensor& ids, const Tensor& grad) const {
    const int64_t n = bags.ids_count, rows = grad.size(0);
    const Tensor keys = new_empty(ids, {n}), occurrences = new_empty(ids, {n});
    const Tensor bag = new_empty(ids, {mode == BagMode::kLookup ? 0 : n});
    if (mode != BagMode::kLookup) gradient.bag = data<const int32_t>(bag);
    launch_embedding_bag_keys(bags, rows, data<int32_t>(keys), data<int32_t>(occurrences),
                              mode == BagMode::kLookup ? nullptr : data<int32_t>(bag), stream());
    const SortedRows sorted = sort_rows(keys, occurrences, rows, stream());
    const Tensor partial = new_empty(grad, {run_partials(n), gradient.dim}, kType<stat_t>);
    launch_embedding_bag_sums(
        EmbeddingBagCudaSums<scalar_t, stat_t>{
            gradient, data<const int32_t>(sorted.rows), data<const int32_t>(sorted.occurrences), n,
            rows, by_frequency, data<scalar_t>(grad), data<stat_t>(partial)},
        stream());
  }

  template <typename scalar_t>
  void run(const EmbeddingRenormParams<scalar_t>& params, const Tensor& ids, int64_t rows) const {
    const SortedRows sorted = sort_ids(ids, rows, stream());
    launch_embedding_renorm<scalar_t, Stat<scalar_t>>(params, data<const int32_t>(sorted.rows),
                                                      ids.numel(), rows, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  using namespace lexforge;
  m.impl("embedding_bag", TORCH_BOX(&embedding_bag<Cuda>));
  m.impl("embedding_bag_backward", TORCH_BOX(&embedding_bag_backward<Cuda>));
  m.impl("embedding_bag_weights_backward", TORCH_BOX(&embedding_bag_weights_backward<Cuda>));
  m.impl("embedding_renorm_", TORCH_BOX(&embedding_renorm_<Cuda>));
}
