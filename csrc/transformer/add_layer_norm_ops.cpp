// CPU binding of add_layer_norm.h.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <tuple>

#include "common/cpu_capability.h"
#include "transformer/add_layer_norm_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 16384;

// A group has at least so many rows, and there are at most so many groups.
constexpr int64_t kRowsPerGroup = 16;
constexpr int64_t kMaxGroups = 64;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// kernel(first, last, workspace) for ranges of at least `grain` of 0 ... count - 1.
template <typename stat_t, typename Kernel>
void for_ranges(int64_t count, int64_t grain, int64_t dim, const Kernel& kernel) {
  const int64_t bytes =
      choose(&baseline::add_layer_norm_workspace<stat_t>, &avx2::add_layer_norm_workspace<stat_t>,
             &avx512::add_layer_norm_workspace<stat_t>)(dim);
  std::atomic<bool> out_of_memory{false};
  const auto range = [&](int64_t first, int64_t last) {
    const std::unique_ptr<void, Free> workspace(
        std::aligned_alloc(64, static_cast<size_t>(bytes + 63) / 64 * 64));
    if (workspace == nullptr) {
      out_of_memory = true;
    } else {
      kernel(first, last, workspace.get());
    }
  };
  torch::stable::parallel_for(0, count, std::max<int64_t>(1, grain), range);
  STD_TORCH_CHECK(!out_of_memory, "add_layer_norm: no memory for a workspace of ", bytes, " bytes");
}

std::tuple<Tensor, Tensor, Tensor> add_layer_norm(const Tensor& x, const OptionalTensor& residual,
                                                  const OptionalTensor& x_bias,
                                                  const Tensor& weight, const Tensor& bias,
                                                  const OptionalTensor& seed, double eps,
                                                  double dropout_p) {
  const char* op = "add_layer_norm";
  const Dropout dropout = check_norm_arguments(op, x, residual, x_bias, weight, seed, dropout_p);
  check_norm_vector(op, "bias", bias, x, x.size(1));
  check_norm_eps(op, eps);
  const AddLayerNormResult result(x);
  for_norm_types(op, x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    const auto params = add_layer_norm_params<scalar_t, stat_t>(x, residual, x_bias, weight, bias,
                                                                eps, dropout, result);
    auto* kernel =
        choose(&baseline::add_layer_norm<scalar_t, stat_t>, &avx2::add_layer_norm<scalar_t, stat_t>,
               &avx512::add_layer_norm<scalar_t, stat_t>);
    const int64_t blocks = (params.rows + kAddLayerNormRows - 1) / kAddLayerNormRows;
    for_ranges<stat_t>(blocks, kNumbersPerTask / (kAddLayerNormRows * params.dim), params.dim,
                       [&](int64_t first, int64_t last, void* memory) {
                         kernel(params, kAddLayerNormRows * first,
                                std::min(params.rows, kAddLayerNormRows * last), memory);
                       });
  });
  return {result.y, result.mean, result.rstd};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> add_layer_norm_backward(
    const Tensor& grad_y, const Tensor& x, const OptionalTensor& residual,
    const OptionalTensor& x_bias, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
    const OptionalTensor& seed, double dropout_p) {
  const char* op = "add_layer_norm_backward";
  const Dropout dropout = check_norm_arguments(op, x, residual, x_bias, weight, seed, dropout_p);
  check_norm_saved(op, grad_y, x, mean, rstd);
  const int64_t groups = std::clamp<int64_t>(x.size(0) / kRowsPerGroup, 1, kMaxGroups);
  const AddLayerNormGradients grads(x, residual, x_bias, groups);
  for_norm_types(op, x, [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    const auto params = add_layer_norm_backward_params<scalar_t, stat_t>(
        grad_y, x, residual, x_bias, weight, mean, rstd, dropout, grads);
    auto* kernel = choose(&baseline::add_layer_norm_backward<scalar_t, stat_t>,
                          &avx2::add_layer_norm_backward<scalar_t, stat_t>,
                          &avx512::add_layer_norm_backward<scalar_t, stat_t>);
    auto* join = choose(&baseline::add_layer_norm_join<scalar_t, stat_t>,
                        &avx2::add_layer_norm_join<scalar_t, stat_t>,
                        &avx512::add_layer_norm_join<scalar_t, stat_t>);
    for_ranges<stat_t>(
        groups, kNumbersPerTask / std::max<int64_t>(1, params.rows / groups * params.dim),
        params.dim,
        [&](int64_t first, int64_t last, void* memory) { kernel(params, first, last, memory); });
    torch::stable::parallel_for(0, params.dim, std::max<int64_t>(64, kNumbersPerTask / groups),
                                [&](int64_t first, int64_t last) { join(params, first, last); });
  });
  return {grads.x, grads.residual, grads.weight, grads.bias, grads.x_bias};
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("add_layer_norm", TORCH_BOX(&lexforge::add_layer_norm));
  m.impl("add_layer_norm_backward", TORCH_BOX(&lexforge::add_layer_norm_backward));
}
