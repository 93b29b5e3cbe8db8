// CPU binding of skipgram_loss.h.
#include <algorithm>
#include <tuple>

#include "common/cpu_capability.h"
#include "common/owned_groups.h"
#include "word2vec/skipgram_loss_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kExamplesPerTask = 16;
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

// Shapes and dtypes, and the row numbers.
void check_batch_cpu(const char* op, const Tensor& center, const Tensor& target,
                     const Tensor& embed_v, const Tensor& embed_u) {
  check_batch(op, center, target, embed_v, embed_u);
  check_ids(center, embed_v.size(0), op, "center");
  check_ids(target, embed_u.size(0), op, "contexts_and_negatives");
}

template <typename scalar_t>
void loss_cpu(const Tensor& center, const Tensor& target, const Tensor& mask, const Tensor& label,
              const Tensor& embed_v, const Tensor& embed_u, const Tensor& loss,
              const Tensor& error) {
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
  auto* kernel = choose(&baseline::skipgram_loss<scalar_t>, &avx2::skipgram_loss<scalar_t>,
                        &avx512::skipgram_loss<scalar_t>);
  torch::stable::parallel_for(0, center.size(0), kExamplesPerTask,
                              [&](int64_t first, int64_t last) { kernel(params, first, last); });
}

std::tuple<Tensor, Tensor> skipgram_loss_cpu(const Tensor& center, const Tensor& target,
                                             const Tensor& mask, const Tensor& label,
                                             const Tensor& embed_v, const Tensor& embed_u) {
  const char* op = "skipgram_loss";
  check_batch_cpu(op, center, target, embed_v, embed_u);
  check_slots(op, mask, target, embed_v.scalar_type(), "mask");
  check_slots(op, label, target, embed_v.scalar_type(), "label");
  Tensor loss = torch::stable::new_empty(embed_v, {center.size(0)});
  Tensor error = torch::stable::new_empty(embed_v, {target.size(0), target.size(1)});
  if (embed_v.scalar_type() == ScalarType::Float) {
    loss_cpu<float>(center, target, mask, label, embed_v, embed_u, loss, error);
  } else {
    loss_cpu<double>(center, target, mask, label, embed_v, embed_u, loss, error);
  }
  return {loss, error};
}

template <typename scalar_t, typename Kernel>
void run_groups(Kernel* kernel, const SkipgramLossBackwardParams<scalar_t>& params,
                const RowGroups& groups, int64_t per_group) {
  torch::stable::parallel_for(0, group_cost(groups.begin, groups.count, per_group), kCostPerTask,
                              [&](int64_t first, int64_t last) {
                                kernel(params,
                                       group_at(groups.begin, groups.count, per_group, first),
                                       group_at(groups.begin, groups.count, per_group, last));
                              });
}

// Gradients of both tables: of all their rows, or, if compact, of the rows that occur.
struct Gradients {
  Tensor rows_v, values_v, rows_u, values_u;
};

Tensor rows_tensor(const Tensor& like, const RowGroups& groups) {
  Tensor rows = torch::stable::new_empty(like, {groups.count}, ScalarType::Long);
  std::copy_n(groups.rows, groups.count, data<int64_t>(rows));
  return rows;
}

template <typename scalar_t>
Gradients backward_cpu(const Tensor& grad_loss, const Tensor& error, const Tensor& center,
                       const Tensor& target, const Tensor& embed_v, const Tensor& embed_u,
                       bool compact) {
  const auto* errors = data<const scalar_t>(error);
  const int64_t length = target.size(1);
  const OwnedGroups centers(
      data<const int32_t>(center), center.numel(), embed_v.size(0), compact, [&](int64_t b) {
        const auto* first = errors + b * length;
        return std::any_of(first, first + length, [](scalar_t e) { return e != 0; });
      });
  const OwnedGroups targets(data<const int32_t>(target), target.numel(), embed_u.size(0), compact,
                            [&](int64_t slot) { return errors[slot] != 0; });
  const int64_t dim = embed_v.size(1);
  Gradients gradients;
  if (compact) {
    gradients.rows_v = rows_tensor(embed_v, centers.groups);
    gradients.rows_u = rows_tensor(embed_u, targets.groups);
    gradients.values_v = torch::stable::new_empty(embed_v, {centers.groups.count, dim});
    gradients.values_u = torch::stable::new_empty(embed_u, {targets.groups.count, dim});
  } else {
    gradients.values_v = torch::stable::new_zeros(embed_v, {embed_v.size(0), dim});
    gradients.values_u = torch::stable::new_zeros(embed_u, {embed_u.size(0), dim});
  }
  const SkipgramLossBackwardParams<scalar_t> params{data<const scalar_t>(embed_v),
                                                    data<const scalar_t>(embed_u),
                                                    dim,
                                                    data<const int32_t>(center),
                                                    data<const int32_t>(target),
                                                    errors,
                                                    data<const scalar_t>(grad_loss),
                                                    target.size(1),
                                                    centers.groups,
                                                    targets.groups,
                                                    data<scalar_t>(gradients.values_v),
                                                    data<scalar_t>(gradients.values_u),
                                                    compact};
  run_groups(choose(&baseline::skipgram_loss_grad_v<scalar_t>,
                    &avx2::skipgram_loss_grad_v<scalar_t>, &avx512::skipgram_loss_grad_v<scalar_t>),
             params, centers.groups, target.size(1));
  run_groups(choose(&baseline::skipgram_loss_grad_u<scalar_t>,
                    &avx2::skipgram_loss_grad_u<scalar_t>, &avx512::skipgram_loss_grad_u<scalar_t>),
             params, targets.groups, kCostPerGroup);
  return gradients;
}

Gradients backward_checked(const Tensor& grad_loss, const Tensor& error, const Tensor& center,
                           const Tensor& target, const Tensor& embed_v, const Tensor& embed_u,
                           bool compact) {
  const char* op = "skipgram_loss_backward";
  check_batch_cpu(op, center, target, embed_v, embed_u);
  check_gradients(op, grad_loss, error, target, embed_v);
  return embed_v.scalar_type() == ScalarType::Float
             ? backward_cpu<float>(grad_loss, error, center, target, embed_v, embed_u, compact)
             : backward_cpu<double>(grad_loss, error, center, target, embed_v, embed_u, compact);
}

std::tuple<Tensor, Tensor> skipgram_loss_backward_cpu(const Tensor& grad_loss, const Tensor& error,
                                                      const Tensor& center, const Tensor& target,
                                                      const Tensor& embed_v,
                                                      const Tensor& embed_u) {
  Gradients all = backward_checked(grad_loss, error, center, target, embed_v, embed_u, false);
  return {all.values_v, all.values_u};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> skipgram_loss_backward_rows_cpu(
    const Tensor& grad_loss, const Tensor& error, const Tensor& center, const Tensor& target,
    const Tensor& embed_v, const Tensor& embed_u) {
  Gradients all = backward_checked(grad_loss, error, center, target, embed_v, embed_u, true);
  return {all.rows_v, all.values_v, all.rows_u, all.values_u};
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("skipgram_loss", TORCH_BOX(&lexforge::skipgram_loss_cpu));
  m.impl("skipgram_loss_backward", TORCH_BOX(&lexforge::skipgram_loss_backward_cpu));
  m.impl("skipgram_loss_backward_rows", TORCH_BOX(&lexforge::skipgram_loss_backward_rows_cpu));
}
