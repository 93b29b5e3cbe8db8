// CPU binding of embedding_sum.h.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <tuple>
#include <vector>

#include "common/cpu_capability.h"
#include "common/huge_pages.h"
#include "common/row_groups.h"
#include "transformer/embedding_sum_binding.h"
#include "transformer/group_sums.h"

namespace lexforge {
namespace {

constexpr int64_t kRowsPerGroup = 64;
constexpr int64_t kNumbersPerTask = 8192;
constexpr int64_t kCostPerSum = 1;  // of the sum of no rows, in rows

int64_t rows_per_task(int64_t width) { return std::max<int64_t>(1, kNumbersPerTask / width); }

void check_range(const char* op, const char* name, const Tensor& ids, int64_t rows) {
  const auto* id = data<const int32_t>(ids);
  const int64_t count = ids.size(0);
  for (int64_t t = 0; t < count; ++t) {
    STD_TORCH_CHECK(0 <= id[t] && id[t] < rows, op, ": ", name, " must be in [0, ", rows, "), got ",
                    id[t], " at position ", t);
  }
}

void check_ranges(const EmbeddingArguments& arguments) {
  check_range(arguments.op, "tokens", arguments.tokens, arguments.token_table.size(0));
  check_range(arguments.op, "positions", arguments.positions, arguments.position_table.size(0));
  if (arguments.segments.has_value()) {
    check_range(arguments.op, "segments", *arguments.segments, arguments.segment_table->size(0));
  }
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// kernel(first, last, workspace) over parts of [0, count), each with a workspace of its own.
template <typename Kernel>
void parallel_with_workspace(int64_t count, int64_t per_task, int64_t bytes, const Kernel& kernel) {
  std::atomic<bool> out_of_memory{false};
  torch::stable::parallel_for(0, count, per_task, [&](int64_t first, int64_t last) {
    const std::unique_ptr<void, Free> workspace(std::aligned_alloc(64, static_cast<size_t>(bytes)));
    if (workspace == nullptr) {
      out_of_memory = true;
      return;
    }
    kernel(first, last, workspace.get());
  });
  STD_TORCH_CHECK(!out_of_memory, "embedding_sum: no memory for ", bytes, " bytes");
}

// ---- Forward -----------------------------------------------------------------------------------

template <typename out_t, typename stat_t>
void forward(const EmbeddingSumParams<out_t, stat_t>& params) {
  auto* kernel = choose(&baseline::embedding_sum<out_t, stat_t>,
                        &avx2::embedding_sum<out_t, stat_t>, &avx512::embedding_sum<out_t, stat_t>);
  auto* workspace =
      choose(&baseline::embedding_workspace<stat_t>, &avx2::embedding_workspace<stat_t>,
             &avx512::embedding_workspace<stat_t>);
  parallel_with_workspace(
      params.rows.count, rows_per_task(params.rows.width), workspace(params.rows.width),
      [&](int64_t first, int64_t last, void* memory) { kernel(params, first, last, memory); });
}

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
  check_ranges(arguments);
  EmbeddingResult result(arguments, dtype);
  result.out = on_huge_pages(result.out);
  for_embedding_types(dtype, [&]<typename out_t, typename stat_t>(out_t, stat_t) {
    forward(embedding_sum_params<out_t, stat_t>(arguments, norm_bias, eps, result));
  });
  return {result.out, result.mean, result.rstd};
}

// ---- Backward ----------------------------------------------------------------------------------

template <typename from_t, typename stat_t>
void run_sums(const EmbeddingGradSums<from_t, stat_t>& sums, int64_t count) {
  auto* kernel = choose(&baseline::embedding_grad_sums<from_t, stat_t>,
                        &avx2::embedding_grad_sums<from_t, stat_t>,
                        &avx512::embedding_grad_sums<from_t, stat_t>);
  torch::stable::parallel_for(0, group_cost(sums.begin, count, kCostPerSum),
                              rows_per_task(sums.width), [&](int64_t first, int64_t last) {
                                kernel(sums, group_at(sums.begin, count, kCostPerSum, first),
                                       group_at(sums.begin, count, kCostPerSum, last));
                              });
}

// The gradient of a table, every row of which is written: the sum of the rows of `from` [T, H] that
// have its id, in parts of kEmbeddingPart.
template <typename from_t, typename stat_t>
void table_gradient(const from_t* from, const Tensor& ids, int64_t width, const Tensor& grad) {
  const int64_t count = ids.size(0), rows = grad.size(0);
  const auto* id = data<const int32_t>(ids);
  // Counting sort: row r is members[row_begin[r] .. row_begin[r + 1]).
  std::vector<int32_t> row_begin(rows + 1), members(count);
  for (int64_t t = 0; t < count; ++t) ++row_begin[id[t]];
  for (int64_t r = 0, total = 0; r <= rows; ++r) {
    total += row_begin[r];
    row_begin[r] = static_cast<int32_t>(total);  // the end of the row, which filling moves back
  }
  for (int64_t t = count - 1; t >= 0; --t) members[--row_begin[id[t]]] = static_cast<int32_t>(t);

  std::vector<int32_t> begin, target, part_begin, part_target, parts;
  begin.reserve(rows + count / kEmbeddingPart + 1);
  target.reserve(rows + count / kEmbeddingPart);
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t first = row_begin[r], last = row_begin[r + 1];
    if (last - first <= kEmbeddingPart) {
      begin.push_back(first);
      target.push_back(static_cast<int32_t>(r));
      continue;
    }
    part_begin.push_back(static_cast<int32_t>(parts.size()));
    part_target.push_back(static_cast<int32_t>(r));
    for (int32_t m = first; m < last; m += kEmbeddingPart) {
      const auto part = static_cast<int32_t>(parts.size());
      begin.push_back(m);
      target.push_back(~part);
      parts.push_back(part);
    }
  }
  begin.push_back(static_cast<int32_t>(count));
  part_begin.push_back(static_cast<int32_t>(parts.size()));

  const Tensor partial =
      torch::stable::new_empty(grad, {static_cast<int64_t>(parts.size()), width});
  run_sums(EmbeddingGradSums<from_t, stat_t>{from, members.data(), begin.data(), target.data(),
                                             width, data<stat_t>(grad), data<stat_t>(partial)},
           static_cast<int64_t>(target.size()));
  run_sums(
      EmbeddingGradSums<stat_t, stat_t>{data<stat_t>(partial), parts.data(), part_begin.data(),
                                        part_target.data(), width, data<stat_t>(grad), nullptr},
      static_cast<int64_t>(part_target.size()));
}

template <typename from_t, typename stat_t>
void table_gradients(const EmbeddingArguments& arguments, const from_t* from,
                     const EmbeddingGradients& grads) {
  const int64_t width = arguments.token_table.size(1);
  table_gradient<from_t, stat_t>(from, arguments.tokens, width, grads.tokens);
  if (arguments.segments.has_value()) {
    table_gradient<from_t, stat_t>(from, *arguments.segments, width, grads.segments);
  }
  table_gradient<from_t, stat_t>(from, arguments.positions, width, grads.positions);
}

// From the gradient of out to that of z, and those of the norm's weight and bias.
template <typename out_t, typename stat_t>
void rows_backward(const EmbeddingSumBackwardParams<out_t, stat_t>& params,
                   const EmbeddingSumGradient& gradient, const EmbeddingGradients& grads) {
  auto* kernel = choose(&baseline::embedding_sum_backward<out_t, stat_t>,
                        &avx2::embedding_sum_backward<out_t, stat_t>,
                        &avx512::embedding_sum_backward<out_t, stat_t>);
  auto* workspace =
      choose(&baseline::embedding_workspace<stat_t>, &avx2::embedding_workspace<stat_t>,
             &avx512::embedding_workspace<stat_t>);
  const int64_t width = params.rows.width, groups = gradient.groups;
  const int64_t groups_per_task = (rows_per_task(width) + kRowsPerGroup - 1) / kRowsPerGroup;
  parallel_with_workspace(
      groups, groups_per_task, workspace(width),
      [&](int64_t first, int64_t last, void* memory) { kernel(params, first, last, memory); });
  if (!gradient.norm) return;
  const int64_t columns_per_task =
      std::max<int64_t>(64, kNumbersPerTask / std::max<int64_t>(1, groups));
  torch::stable::parallel_for(0, width, columns_per_task, [&](int64_t first, int64_t last) {
    sum_groups(params.partial, groups, 2 * width, first, last, data<stat_t>(grads.weight));
    sum_groups(params.partial + width, groups, 2 * width, first, last, data<stat_t>(grads.bias));
  });
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
  check_ranges(arguments);
  EmbeddingGradients grads(arguments);
  grads.tokens = on_huge_pages(grads.tokens);
  for_embedding_types(grad_out.scalar_type(), [&]<typename out_t, typename stat_t>(out_t, stat_t) {
    if (arguments.plain()) {
      table_gradients<out_t, stat_t>(arguments, data<const out_t>(grad_out), grads);
      return;
    }
    const EmbeddingSumGradient gradient(arguments, kRowsPerGroup);
    on_huge_pages(gradient.sum);
    rows_backward(gradient.params<out_t, stat_t>(arguments, grad_out, mean, rstd), gradient, grads);
    table_gradients<stat_t, stat_t>(arguments, data<const stat_t>(gradient.sum), grads);
  });
  return {grads.tokens, grads.segments, grads.positions, grads.weight, grads.bias};
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("embedding_sum", TORCH_BOX(&lexforge::embedding_sum));
  m.impl("embedding_sum_backward", TORCH_BOX(&lexforge::embedding_sum_backward));
}
