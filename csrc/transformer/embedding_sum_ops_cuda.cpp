// CUDA binding of embedding_sum.h. Ids are not looked at here.
#include <algorithm>
#include <tuple>

#include "common/cuda_binding.h"
#include "common/row_groups.h"
#include "transformer/embedding_sum_binding.h"

namespace lexforge {
namespace {

// A group has at least so many rows, and there are at most so many groups: three blocks for each
// multiprocessor of an H100, fewer for a smaller problem.
constexpr int64_t kRowsPerGroup = 8;
constexpr int64_t kMaxGroups = 396;

std::tuple<Tensor, Tensor, Tensor> embedding_sum(
    const Tensor& tokens, const OptionalTensor& segments, const Tensor& positions,
    const Tensor& token_table, const OptionalTensor& segment_table, const Tensor& position_table,
    const OptionalTensor& norm_weight, const OptionalTensor& norm_bias, const OptionalTensor& seed,
    double eps, double dropout_p, ScalarType dtype) {
  const EmbeddingArguments arguments{
      "embedding_sum", tokens,         segments,    positions, token_table,
      segment_table,   position_table, norm_weight, seed,      dropout_p};
  arguments.check();
  arguments.check_forward(norm_bias, dtype);
  const CudaCall call(token_table);
  const EmbeddingResult result(arguments, dtype);
  for_embedding_types(dtype, [&]<typename out_t, typename stat_t>(out_t, stat_t) {
    launch_embedding_sum(embedding_sum_params<out_t, stat_t>(arguments, norm_bias, eps, result),
                         call.stream());
  });
  return {result.out, result.mean, result.rstd};
}

// The sums of the rows of `from` [T, H] by id, sorted: what this costs does not grow with the
// table.
template <typename from_t, typename stat_t>
void sorted_gradient(const from_t* from, const Tensor& ids, const Tensor& grad, void* stream) {
  const int64_t count = ids.size(0), rows = grad.size(0), width = grad.size(1);
  Tensor zeros = grad;  // the same memory
  torch::stable::zero_(zeros);
  if (count == 0) return;
  const auto new_ids = [&] { return torch::stable::new_empty(ids, {count}); };
  const Tensor keys = new_ids(), t = new_ids(), sorted_id = new_ids(), sorted_t = new_ids();
  launch_row_keys(data<const int32_t>(ids), count, rows, data<int32_t>(keys), data<int32_t>(t),
                  stream);
  const auto sort = [&](void* storage, size_t bytes) {
    return sort_by_row(storage, bytes, data<int32_t>(keys), data<int32_t>(sorted_id),
                       data<int32_t>(t), data<int32_t>(sorted_t), count, rows, stream);
  };
  const size_t bytes = sort(nullptr, 0);
  const Tensor storage =
      torch::stable::new_empty(ids, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  sort(storage.data_ptr(), bytes);
  const int64_t parts = (count + kEmbeddingPart - 1) / kEmbeddingPart;
  const Tensor partial = torch::stable::new_empty(grad, {2 * parts, width});
  launch_embedding_grad_sums(
      EmbeddingCudaSums<from_t, stat_t>{
          .from = from,
          .sorted_id = data<const int32_t>(sorted_id),
          .sorted_t = data<const int32_t>(sorted_t),
          .count = count,
          .rows = rows,
          .width = width,
          .to = data<stat_t>(grad),
          .partial = data<stat_t>(partial),
      },
      stream);
}

// The same directly where the table is short.
template <typename from_t, typename stat_t>
void table_gradient(const from_t* from, const Tensor& ids, const Tensor& grad, void* stream) {
  const int64_t count = ids.size(0), rows = grad.size(0), width = grad.size(1);
  if (rows > kShortTable || count == 0) {
    return sorted_gradient<from_t, stat_t>(from, ids, grad, stream);
  }
  const int64_t range = short_range(count, rows), ranges = (count + range - 1) / range;
  const Tensor partial = torch::stable::new_empty(grad, {ranges == 1 ? 0 : ranges * rows, width});
  launch_embedding_short_sums(
      EmbeddingShortSums<from_t, stat_t>{
          .from = from,
          .ids = data<const int32_t>(ids),
          .count = count,
          .rows = rows,
          .width = width,
          .range = range,
          .to = data<stat_t>(grad),
          .partial = data<stat_t>(partial),
      },
      stream);
}

template <typename from_t, typename stat_t>
void table_gradients(const EmbeddingArguments& arguments, const from_t* from,
                     const EmbeddingGradients& grads, void* stream) {
  sorted_gradient<from_t, stat_t>(from, arguments.tokens, grads.tokens, stream);
  if (arguments.segments.has_value()) {
    table_gradient<from_t, stat_t>(from, *arguments.segments, grads.segments, stream);
  }
  table_gradient<from_t, stat_t>(from, arguments.positions, grads.positions, stream);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> embedding_sum_backward(
    const Tensor& grad_out, const Tensor& tokens, const OptionalTensor& segments,
    const Tensor& positions, const Tensor& token_table, const OptionalTensor& segment_table,
    const Tensor& position_table, const OptionalTensor& norm_weight, const OptionalTensor& seed,
    const Tensor& mean, const Tensor& rstd, double dropout_p) {
  const EmbeddingArguments arguments{
      "embedding_sum_backward", tokens,      segments, positions, token_table, segment_table,
      position_table,           norm_weight, seed,     dropout_p};
  arguments.check();
  arguments.check_gradient(grad_out, mean, rstd);
  const CudaCall call(token_table);
  const EmbeddingGradients grads(arguments);
  for_embedding_types(grad_out.scalar_type(), [&]<typename out_t, typename stat_t>(out_t, stat_t) {
    if (arguments.plain()) {
      table_gradients<out_t, stat_t>(arguments, data<const out_t>(grad_out), grads, call.stream());
      return;
    }
    const int64_t group = std::max(kRowsPerGroup, (tokens.size(0) + kMaxGroups - 1) / kMaxGroups);
    const EmbeddingSumGradient gradient(arguments, group);
    launch_embedding_sum_backward(gradient.params<out_t, stat_t>(arguments, grad_out, mean, rstd),
                                  call.stream());
    if (gradient.norm) {
      launch_embedding_group_sums(data<const stat_t>(gradient.partial), gradient.groups,
                                  token_table.size(1), data<stat_t>(grads.weight),
                                  data<stat_t>(grads.bias), call.stream());
    }
    table_gradients<stat_t, stat_t>(arguments, data<const stat_t>(gradient.sum), grads,
                                    call.stream());
  });
  return {grads.tokens, grads.segments, grads.positions, grads.weight, grads.bias};
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("embedding_sum", TORCH_BOX(&lexforge::embedding_sum));
  m.impl("embedding_sum_backward", TORCH_BOX(&lexforge::embedding_sum_backward));
}
