// CPU binding of glove_loss.h.
#include <algorithm>
#include <tuple>

#include "common/cpu_capability.h"
#include "common/owned_groups.h"
#include "glove/glove_loss_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kEntriesPerTask = 256;
constexpr int64_t kCostPerTask = 1024;
constexpr int64_t kCostPerGroup = 4;

void check_ids(const Tensor& ids, int64_t rows, const char* op, const char* name) {
  const auto* id = data<const int32_t>(ids);
  uint32_t largest = 0;  // a negative id is larger than any row
  for (int64_t i = 0; i < ids.numel(); ++i) {
    largest = std::max(largest, static_cast<uint32_t>(id[i]));
  }
  STD_TORCH_CHECK(ids.numel() == 0 || largest < static_cast<uint64_t>(rows), op, ": ", name,
                  " must be in [0, ", rows, ")");
}

template <typename scalar_t>
void loss_cpu(const GloveLossParams<scalar_t>& params) {
  auto* kernel = choose(&baseline::glove_loss<scalar_t>, &avx2::glove_loss<scalar_t>,
                        &avx512::glove_loss<scalar_t>);
  torch::stable::parallel_for(0, params.entries, kEntriesPerTask,
                              [&](int64_t first, int64_t last) { kernel(params, first, last); });
}

std::tuple<Tensor, Tensor> glove_loss_cpu(const Tensor& word, const Tensor& context,
                                          const Tensor& word_bias, const Tensor& context_bias,
                                          const Tensor& rows, const Tensor& cols,
                                          const Tensor& counts, double x_max, double alpha) {
  const char* op = "glove_loss";
  check_glove_loss(op, word, context, word_bias, context_bias, rows, cols, counts);
  check_ids(rows, word.size(0), op, "rows");
  check_ids(cols, word.size(0), op, "cols");
  Tensor loss = torch::stable::new_empty(word, {rows.size(0)});
  Tensor slope = torch::stable::new_empty(word, {rows.size(0)});
  if (word.scalar_type() == ScalarType::Float) {
    loss_cpu(glove_loss_params<float>(word, context, word_bias, context_bias, rows, cols, counts,
                                      x_max, alpha, loss, slope));
  } else {
    loss_cpu(glove_loss_params<double>(word, context, word_bias, context_bias, rows, cols, counts,
                                       x_max, alpha, loss, slope));
  }
  return {loss, slope};
}

template <typename scalar_t>
void grad_cpu(const GloveLossSide<scalar_t>& side, const Tensor& rows, int64_t vocab_size) {
  const OwnedGroups owned(data<const int32_t>(rows), rows.numel(), vocab_size, false,
                          [](int64_t) { return true; });
  const RowGroups& groups = owned.groups;
  auto* kernel = choose(&baseline::glove_loss_grad<scalar_t>, &avx2::glove_loss_grad<scalar_t>,
                        &avx512::glove_loss_grad<scalar_t>);
  torch::stable::parallel_for(0, group_cost(groups.begin, groups.count, kCostPerGroup),
                              kCostPerTask, [&](int64_t first, int64_t last) {
                                kernel(side, groups,
                                       group_at(groups.begin, groups.count, kCostPerGroup, first),
                                       group_at(groups.begin, groups.count, kCostPerGroup, last));
                              });
}

template <typename scalar_t>
GloveGradients backward_cpu(const Tensor& grad_loss, const Tensor& slope, const Tensor& word,
                            const Tensor& context, const Tensor& rows, const Tensor& cols) {
  const GloveGradients grad(word, context);
  grad_cpu(glove_loss_side<scalar_t>(context, cols, slope, grad_loss, grad.word, grad.word_bias),
           rows, word.size(0));
  grad_cpu(glove_loss_side<scalar_t>(word, rows, slope, grad_loss, grad.context, grad.context_bias),
           cols, word.size(0));
  return grad;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> glove_loss_backward_cpu(
    const Tensor& grad_loss, const Tensor& slope, const Tensor& word, const Tensor& context,
    const Tensor& rows, const Tensor& cols) {
  const char* op = "glove_loss_backward";
  check_glove_gradient(op, grad_loss, slope, word, context, rows, cols);
  check_ids(rows, word.size(0), op, "rows");
  check_ids(cols, word.size(0), op, "cols");
  const GloveGradients grad =
      word.scalar_type() == ScalarType::Float
          ? backward_cpu<float>(grad_loss, slope, word, context, rows, cols)
          : backward_cpu<double>(grad_loss, slope, word, context, rows, cols);
  return {grad.word, grad.context, grad.word_bias, grad.context_bias};
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("glove_loss", TORCH_BOX(&lexforge::glove_loss_cpu));
  m.impl("glove_loss_backward", TORCH_BOX(&lexforge::glove_loss_backward_cpu));
}
