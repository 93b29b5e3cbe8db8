// CPU binding of weight_gradient.h.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <type_traits>

#include "common/check.h"
#include "common/cpu_capability.h"
#include "transformer/weight_gradient.h"

namespace lexforge {
namespace {

// Outputs below which a part is not worth its packing of x.
constexpr int64_t kLeastOutputs = 24;
constexpr int64_t kWorkPerPart = 1 << 18;  // multiply-adds

constexpr int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

void check_rows(const char* op, const Tensor& rows, ScalarType dtype, const char* name) {
  STD_TORCH_CHECK(rows.scalar_type() == dtype, op, ": ", name, " has the wrong dtype");
  STD_TORCH_CHECK(rows.dim() == 2, op, ": ", name, " must have 2 dimensions");
  STD_TORCH_CHECK(rows.size(1) <= 1 || rows.stride(1) == 1, op, ": ", name,
                  " must have stride 1 in its last dimension");
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// How the result is cut into parts for `threads` threads: into equal rows of parts, and into
// columns where there are too few of these.
struct Cut {
  int64_t by_outputs, by_inputs;
  Cut(int64_t rows, int64_t outputs, int64_t inputs, int64_t threads) {
    threads = std::clamp<int64_t>(rows * outputs * inputs / kWorkPerPart, 1, threads);
    by_outputs = std::min(threads, ceil_div(outputs, kLeastOutputs));
    by_outputs = ceil_div(ceil_div(outputs, kWeightGradientOutputs), by_outputs) * by_outputs;
    by_inputs = std::clamp<int64_t>(ceil_div(inputs, kWeightGradientInputs), 1,
                                    ceil_div(threads, by_outputs));
  }
};

template <typename scalar_t, typename stat_t>
void run(const WeightGradientParams<scalar_t, stat_t>& params) {
  auto* kernel = [] {
    if constexpr (std::is_same_v<scalar_t, Bfloat16>) {
      if (cpu_has_bf16()) return &avx512::bf16::weight_gradient<scalar_t, stat_t>;
    }
    return choose(&baseline::weight_gradient<scalar_t, stat_t>,
                  &avx2::weight_gradient<scalar_t, stat_t>,
                  &avx512::weight_gradient<scalar_t, stat_t>);
  }();
  const int64_t threads = torch::stable::get_num_threads();
  const Cut cut(params.rows, params.outputs, params.inputs, threads);
  const int64_t parts = cut.by_outputs * cut.by_inputs, used = std::min(parts, threads);
  const int64_t bytes = (baseline::weight_gradient_workspace<scalar_t, stat_t>() + 63) / 64 * 64;
  const std::unique_ptr<char, Free> workspace(
      static_cast<char*>(std::aligned_alloc(64, static_cast<size_t>(used * bytes))));
  STD_TORCH_CHECK(workspace != nullptr, "weight_gradient_: no memory for a workspace of ",
                  used * bytes, " bytes");
  const int64_t panels = ceil_div(params.inputs, kWeightGradientInputs);
  torch::stable::parallel_for(0, used, 1, [&](int64_t first, int64_t last) {
    for (int64_t p = parts * first / used; p < parts * last / used; ++p) {
      const int64_t i = p / cut.by_inputs, j = p % cut.by_inputs;
      const WeightGradientPart part{
          params.outputs * i / cut.by_outputs, params.outputs * (i + 1) / cut.by_outputs,
          panels * j / cut.by_inputs * kWeightGradientInputs,
          std::min(panels * (j + 1) / cut.by_inputs * kWeightGradientInputs, params.inputs)};
      kernel(params, part, workspace.get() + first * bytes);
    }
  });
}

void weight_gradient(const Tensor& grad_weight, const std::optional<Tensor>& grad_bias,
                     const Tensor& grad_out, const Tensor& x, bool add) {
  const char* op = "weight_gradient_";
  const ScalarType dtype = grad_out.scalar_type();
  STD_TORCH_CHECK(
      dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::BFloat16,
      op, ": grad_out must be float32, float64 or bfloat16");
  const ScalarType stat = dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  check_rows(op, grad_out, dtype, "grad_out");
  check_rows(op, x, dtype, "x");
  check_contiguous(grad_weight, stat, 2, op, "grad_weight");
  const int64_t rows = x.size(0), outputs = grad_out.size(1), inputs = x.size(1);
  STD_TORCH_CHECK(grad_out.size(0) == rows, op, ": grad_out and x must have the same rows");
  STD_TORCH_CHECK(grad_weight.size(0) == outputs && grad_weight.size(1) == inputs, op,
                  ": grad_weight must be [out, in]");
  if (grad_bias.has_value()) {
    check_contiguous(*grad_bias, stat, 1, op, "grad_bias");
    STD_TORCH_CHECK(grad_bias->size(0) == outputs, op, ": grad_bias must be [out]");
  }
  if (outputs == 0 || (inputs == 0 && !grad_bias.has_value())) return;
  const auto call = [&]<typename scalar_t, typename stat_t>(scalar_t, stat_t) {
    run(WeightGradientParams<scalar_t, stat_t>{
        data<const scalar_t>(grad_out), data<const scalar_t>(x), grad_out.stride(0), x.stride(0),
        rows, outputs, inputs, data<stat_t>(grad_weight),
        grad_bias.has_value() ? data<stat_t>(*grad_bias) : nullptr, add});
  };
  if (dtype == ScalarType::Float) {
    call(float{}, float{});
  } else if (dtype == ScalarType::Double) {
    call(double{}, double{});
  } else {
    call(Bfloat16{}, float{});
  }
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("weight_gradient_", TORCH_BOX(&lexforge::weight_gradient));
}
