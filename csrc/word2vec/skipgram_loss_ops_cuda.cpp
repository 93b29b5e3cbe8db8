// CUDA binding of skipgram_loss.h. Row numbers are checked by the Python wrapper.
#include <algorithm>
#include <tuple>

#include "common/cuda_binding.h"
#include "word2vec/skipgram_loss_binding.h"
#include "word2vec/skipgram_run_parts.h"

namespace lexforge {
namespace {

template <typename scalar_t>
void loss_cuda(const Tensor& center, const Tensor& target, const Tensor& mask, const Tensor& label,
               const Tensor& embed_v, const Tensor& embed_u, const Tensor& loss,
               const Tensor& error, void* stream) {
  const SkipgramLossParams<scalar_t> params{data<const scalar_t>(embed_v),
                                            data<const scalar_t>(embed_u),
                                            embed_v.size(1),
                                            data<const int32_t>(center),
                                            data<const int32_t>(target),
                                            data<const scalar_t>(mask),
                                            data<const scalar_t>(label),
                                            target.size(1),
                                            data<scalar_t>(loss),
                                            data<scalar_t>(error)};
  launch_skipgram_loss(params, center.size(0), stream);
}

std::tuple<Tensor, Tensor> skipgram_loss(const Tensor& center, const Tensor& target,
                                         const Tensor& mask, const Tensor& label,
                                         const Tensor& embed_v, const Tensor& embed_u) {
  const char* op = "skipgram_loss";
  check_batch(op, center, target, embed_v, embed_u);
  check_slots(op, mask, target, embed_v.scalar_type(), "mask");
  check_slots(op, label, target, embed_v.scalar_type(), "label");
  const CudaCall call(embed_v);
  Tensor loss = torch::stable::new_empty(embed_v, {center.size(0)});
  Tensor error = torch::stable::new_empty(embed_v, {target.size(0), target.size(1)});
  if (embed_v.scalar_type() == ScalarType::Float) {
    loss_cuda<float>(center, target, mask, label, embed_v, embed_u, loss, error, call.stream());
  } else {
    loss_cuda<double>(center, target, mask, label, embed_v, embed_u, loss, error, call.stream());
  }
  return {loss, error};
}

// Occurrences sorted by row, and the numbers of their runs where rows are to be compact.
struct SortedRows {
  Tensor keys, values, runs;
  int64_t count = 0;  // runs
};

SortedRows sort_rows(const Tensor& like, const Tensor& keys, const Tensor& values, int64_t rows,
                     bool compact, void* stream) {
  const int64_t n = keys.numel();
  SortedRows sorted{torch::stable::new_empty(keys, {n}), torch::stable::new_empty(keys, {n}),
                    torch::stable::new_empty(keys, {compact ? n : 0})};
  if (n == 0) return sorted;
  size_t bytes = sort_by_row(nullptr, 0, data<int32_t>(keys), data<int32_t>(sorted.keys),
                             data<int32_t>(values), data<int32_t>(sorted.values), n, rows, stream);
  Tensor storage = torch::stable::new_empty(like, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  sort_by_row(storage.data_ptr(), bytes, data<int32_t>(keys), data<int32_t>(sorted.keys),
              data<int32_t>(values), data<int32_t>(sorted.values), n, rows, stream);
  if (!compact) return sorted;
  Tensor flags = torch::stable::new_empty(keys, {n});
  bytes = skipgram_number_runs(nullptr, 0, data<int32_t>(sorted.keys), n, rows,
                               data<int32_t>(flags), data<int32_t>(sorted.runs), stream);
  Tensor scan_storage =
      torch::stable::new_empty(like, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  skipgram_number_runs(scan_storage.data_ptr(), bytes, data<int32_t>(sorted.keys), n, rows,
                       data<int32_t>(flags), data<int32_t>(sorted.runs), stream);
  sorted.count = skipgram_count_runs(data<int32_t>(sorted.runs), n, stream);
  return sorted;
}

Tensor rows_of(const SortedRows& sorted, int64_t rows, void* stream) {
  Tensor unique = torch::stable::new_empty(sorted.keys, {sorted.count}, ScalarType::Long);
  skipgram_list_runs(data<int32_t>(sorted.keys), data<int32_t>(sorted.runs), sorted.keys.numel(),
                     rows, data<int64_t>(unique), stream);
  return unique;
}

struct Gradients {
  Tensor rows_v, values_v, rows_u, values_u;
};

template <typename scalar_t>
Gradients backward(const Tensor& grad_loss, const Tensor& error, const Tensor& center,
                   const Tensor& target, const Tensor& embed_v, const Tensor& embed_u,
                   bool compact) {
  const CudaCall call(embed_v);
  void* stream = call.stream();
  SkipgramLossBackwardCudaParams<scalar_t> params{};
  params.embed_v = data<const scalar_t>(embed_v);
  params.embed_u = data<const scalar_t>(embed_u);
  params.dim = embed_v.size(1);
  params.center = data<const int32_t>(center);
  params.target = data<const int32_t>(target);
  params.error = data<const scalar_t>(error);
  params.grad_loss = data<const scalar_t>(grad_loss);
  params.batch = target.size(0);
  params.length = target.size(1);
  params.rows_v = embed_v.size(0);
  params.rows_u = embed_u.size(0);

  const int64_t slots = target.numel();
  Tensor keys_v = torch::stable::new_empty(center, {params.batch});
  Tensor example = torch::stable::new_empty(center, {params.batch});
  Tensor keys_u = torch::stable::new_empty(center, {slots});
  Tensor slot = torch::stable::new_empty(center, {slots});
  launch_skipgram_loss_keys(params, data<int32_t>(keys_v), data<int32_t>(example),
                            data<int32_t>(keys_u), data<int32_t>(slot), stream);
  const SortedRows v = sort_rows(center, keys_v, example, params.rows_v, compact, stream);
  const SortedRows u = sort_rows(center, keys_u, slot, params.rows_u, compact, stream);
  params.sorted_center = data<const int32_t>(v.keys);
  params.sorted_example = data<const int32_t>(v.values);
  params.sorted_target = data<const int32_t>(u.keys);
  params.sorted_slot = data<const int32_t>(u.values);

  Gradients gradients;
  if (compact) {
    params.center_run = data<const int32_t>(v.runs);
    params.target_run = data<const int32_t>(u.runs);
    gradients.rows_v = rows_of(v, params.rows_v, stream);
    gradients.rows_u = rows_of(u, params.rows_u, stream);
    gradients.values_v = torch::stable::new_empty(embed_v, {v.count, params.dim});
    gradients.values_u = torch::stable::new_empty(embed_u, {u.count, params.dim});
  } else {
    gradients.values_v = torch::stable::new_zeros(embed_v, {params.rows_v, params.dim});
    gradients.values_u = torch::stable::new_zeros(embed_u, {params.rows_u, params.dim});
  }
  params.grad_v = data<scalar_t>(gradients.values_v);
  params.grad_u = data<scalar_t>(gradients.values_u);
  const Tensor partial =
      torch::stable::new_empty(embed_v, {run_partials(std::max(params.batch, slots)), params.dim});
  params.partial = data<scalar_t>(partial);
  launch_skipgram_loss_backward(params, stream);
  return gradients;
}

Gradients backward_checked(const Tensor& grad_loss, const Tensor& error, const Tensor& center,
                           const Tensor& target, const Tensor& embed_v, const Tensor& embed_u,
                           bool compact) {
  const char* op = "skipgram_loss_backward";
  check_batch(op, center, target, embed_v, embed_u);
  check_gradients(op, grad_loss, error, target, embed_v);
  return embed_v.scalar_type() == ScalarType::Float
             ? backward<float>(grad_loss, error, center, target, embed_v, embed_u, compact)
             : backward<double>(grad_loss, error, center, target, embed_v, embed_u, compact);
}

std::tuple<Tensor, Tensor> skipgram_loss_backward(const Tensor& grad_loss, const Tensor& error,
                                                  const Tensor& center, const Tensor& target,
                                                  const Tensor& embed_v, const Tensor& embed_u) {
  Gradients all = backward_checked(grad_loss, error, center, target, embed_v, embed_u, false);
  return {all.values_v, all.values_u};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> skipgram_loss_backward_rows(
    const Tensor& grad_loss, const Tensor& error, const Tensor& center, const Tensor& target,
    const Tensor& embed_v, const Tensor& embed_u) {
  Gradients all = backward_checked(grad_loss, error, center, target, embed_v, embed_u, true);
  return {all.rows_v, all.values_v, all.rows_u, all.values_u};
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("skipgram_loss", TORCH_BOX(&lexforge::skipgram_loss));
  m.impl("skipgram_loss_backward", TORCH_BOX(&lexforge::skipgram_loss_backward));
  m.impl("skipgram_loss_backward_rows", TORCH_BOX(&lexforge::skipgram_loss_backward_rows));
}
