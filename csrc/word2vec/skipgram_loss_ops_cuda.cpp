// CUDA binding of skipgram_loss.h.
#include "common/cuda_binding.h"
#include "common/run_parts.h"
#include "common/sorted_rows.h"
#include "word2vec/skipgram_loss_binding.h"

namespace lexforge {
namespace {

// The runs of sorted occurrences: which one each is in, and the row of each.
struct Runs {
  Tensor run, rows;
};

Runs number_runs(const SortedRows& sorted, int64_t table_rows, void* stream) {
  const int64_t n = sorted.rows.numel();
  const auto* keys = data<int32_t>(sorted.rows);
  const Tensor flags = new_empty(sorted.rows, {n}), run = new_empty(sorted.rows, {n});
  int64_t count = 0;
  if (n > 0) {
    with_storage(run, [&](void* storage, size_t bytes) {
      return skipgram_number_runs(storage, bytes, keys, n, table_rows, data<int32_t>(flags),
                                  data<int32_t>(run), stream);
    });
    count = skipgram_count_runs(data<int32_t>(run), n, stream);
  }
  const Tensor rows = new_empty(run, {count}, ScalarType::Long);
  skipgram_list_runs(keys, data<int32_t>(run), n, table_rows, data<int64_t>(rows), stream);
  return {run, rows};
}

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  template <typename scalar_t>
  void run(const SkipgramLossParams<scalar_t>& params, int64_t batch) const {
    launch_skipgram_loss(params, batch, stream());
  }

  template <typename scalar_t>
  SkipgramLossGradients backward(const Tensor& grad_loss, const Tensor& error,
                                 const SkipgramLossBatch& batch, bool compact) const {
    SkipgramLossBackwardCudaParams<scalar_t> params{};
    params.embed_v = data<const scalar_t>(batch.embed_v);
    params.embed_u = data<const scalar_t>(batch.embed_u);
    params.dim = batch.dim();
    params.center = data<const int32_t>(batch.center);
    params.target = data<const int32_t>(batch.target);
    params.error = data<const scalar_t>(error);
    params.grad_loss = data<const scalar_t>(grad_loss);
    params.batch = batch.size();
    params.length = batch.length();
    params.rows_v = batch.embed_v.size(0);
    params.rows_u = batch.embed_u.size(0);

    const int64_t slots = batch.target.numel();
    const auto ints = [&](int64_t n) { return new_empty(batch.center, {n}); };
    const Tensor keys_v = ints(params.batch), example = ints(params.batch);
    const Tensor keys_u = ints(slots), slot = ints(slots);
    launch_skipgram_loss_keys(params, data<int32_t>(keys_v), data<int32_t>(example),
                              data<int32_t>(keys_u), data<int32_t>(slot), stream());
    const SortedRows v = sort_rows(keys_v, example, params.rows_v, stream());
    const SortedRows u = sort_rows(keys_u, slot, params.rows_u, stream());
    params.sorted_center = data<const int32_t>(v.rows);
    params.sorted_example = data<const int32_t>(v.occurrences);
    params.sorted_target = data<const int32_t>(u.rows);
    params.sorted_slot = data<const int32_t>(u.occurrences);

    Runs runs_v, runs_u;
    if (compact) {
      runs_v = number_runs(v, params.rows_v, stream());
      runs_u = number_runs(u, params.rows_u, stream());
      params.center_run = data<const int32_t>(runs_v.run);
      params.target_run = data<const int32_t>(runs_u.run);
    }
    const SkipgramLossGradients gradients{
        runs_v.rows, new_gradient(batch.embed_v, compact, compact ? runs_v.rows.size(0) : 0),
        runs_u.rows, new_gradient(batch.embed_u, compact, compact ? runs_u.rows.size(0) : 0)};
    params.grad_v = data<scalar_t>(gradients.values_v);
    params.grad_u = data<scalar_t>(gradients.values_u);
    const Tensor partial =
        new_empty(batch.embed_v, {run_partials(std::max(params.batch, slots)), params.dim});
    params.partial = data<scalar_t>(partial);
    launch_skipgram_loss_backward(params, stream());
    return gradients;
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  using namespace lexforge;
  m.impl("skipgram_loss", TORCH_BOX(&skipgram_loss<Cuda>));
  m.impl("skipgram_loss_backward", TORCH_BOX(&skipgram_loss_backward<Cuda>));
  m.impl("skipgram_loss_backward_rows", TORCH_BOX(&skipgram_loss_backward_rows<Cuda>));
}
