// CPU binding of skipgram_loss.h.
#include "common/cpu_binding.h"
#include "common/owned_groups.h"
#include "word2vec/skipgram_loss_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kExamplesPerTask = 16;
constexpr int64_t kCostPerTask = 1024;
constexpr int64_t kCostPerGroup = 4;

Tensor rows_of(const Tensor& like, const RowGroups& groups) {
  Tensor rows = new_empty(like, {groups.count}, ScalarType::Long);
  std::copy_n(groups.rows, groups.count, data<int64_t>(rows));
  return rows;
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  void run(const SkipgramLossParams<scalar_t>& params, int64_t batch) const {
    auto* kernel = LEXFORGE_CHOOSE(skipgram_loss<scalar_t>);
    parallel_for(0, batch, kExamplesPerTask,
                 [&](int64_t first, int64_t last) { kernel(params, first, last); });
  }

  template <typename scalar_t>
  SkipgramLossGradients backward(const Tensor& grad_loss, const Tensor& error,
                                 const SkipgramLossBatch& batch, bool compact) const {
    const auto* errors = data<const scalar_t>(error);
    const int64_t length = batch.length();
    const OwnedGroups centers(data<const int32_t>(batch.center), batch.size(),
                              batch.embed_v.size(0), compact, [&](int64_t b) {
                                const auto* first = errors + b * length;
                                return std::any_of(first, first + length,
                                                   [](scalar_t e) { return e != 0; });
                              });
    const OwnedGroups targets(data<const int32_t>(batch.target), batch.target.numel(),
                              batch.embed_u.size(0), compact,
                              [&](int64_t slot) { return errors[slot] != 0; });
    const RowGroups &v = centers.groups, &u = targets.groups;
    SkipgramLossGradients gradients;
    if (compact) {
      gradients.rows_v = rows_of(batch.embed_v, v);
      gradients.rows_u = rows_of(batch.embed_u, u);
    }
    gradients.values_v = new_gradient(batch.embed_v, compact, v.count);
    gradients.values_u = new_gradient(batch.embed_u, compact, u.count);
    const SkipgramLossBackwardParams<scalar_t> params{data<const scalar_t>(batch.embed_v),
                                                      data<const scalar_t>(batch.embed_u),
                                                      batch.dim(),
                                                      data<const int32_t>(batch.center),
                                                      data<const int32_t>(batch.target),
                                                      errors,
                                                      data<const scalar_t>(grad_loss),
                                                      length,
                                                      v,
                                                      u,
                                                      data<scalar_t>(gradients.values_v),
                                                      data<scalar_t>(gradients.values_u),
                                                      compact};
    auto* grad_v = LEXFORGE_CHOOSE(skipgram_loss_grad_v<scalar_t>);
    for_groups(v.begin, v.count, length, kCostPerTask,
               [&](int64_t first, int64_t last) { grad_v(params, first, last); });
    auto* grad_u = LEXFORGE_CHOOSE(skipgram_loss_grad_u<scalar_t>);
    for_groups(u.begin, u.count, kCostPerGroup, kCostPerTask,
               [&](int64_t first, int64_t last) { grad_u(params, first, last); });
    return gradients;
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  using namespace lexforge;
  m.impl("skipgram_loss", TORCH_BOX(&skipgram_loss<Cpu>));
  m.impl("skipgram_loss_backward", TORCH_BOX(&skipgram_loss_backward<Cpu>));
  m.impl("skipgram_loss_backward_rows", TORCH_BOX(&skipgram_loss_backward_rows<Cpu>));
}
