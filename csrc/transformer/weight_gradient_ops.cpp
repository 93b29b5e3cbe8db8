// CPU binding of weight_gradient.h.
#include "common/cpu_binding.h"
#include "transformer/weight_gradient.h"

namespace lexforge {
namespace {

// Outputs below which a part is not worth its packing of x.
constexpr int64_t kLeastOutputs = 24;
constexpr int64_t kWorkPerPart = 1 << 18;  // multiply-adds

constexpr int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

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
  auto* kernel = LEXFORGE_CHOOSE_BF16(scalar_t, weight_gradient<scalar_t, stat_t>);
  const int64_t threads = torch::stable::get_num_threads();
  const Cut cut(params.rows, params.outputs, params.inputs, threads);
  const int64_t parts = cut.by_outputs * cut.by_inputs, used = std::min(parts, threads);
  const int64_t bytes = (baseline::weight_gradient_workspace<scalar_t, stat_t>() + 63) / 64 * 64;
  const Scratch workspace = new_scratch(used * bytes);
  if (!workspace) fail("weight_gradient_: no memory for a workspace of ", used * bytes, " bytes");
  const int64_t panels = ceil_div(params.inputs, kWeightGradientInputs);
  parallel_for(0, used, 1, [&](int64_t first, int64_t last) {
    for (int64_t p = parts * first / used; p < parts * last / used; ++p) {
      const int64_t i = p / cut.by_inputs, j = p % cut.by_inputs;
      const WeightGradientPart part{
          params.outputs * i / cut.by_outputs, params.outputs * (i + 1) / cut.by_outputs,
          panels * j / cut.by_inputs * kWeightGradientInputs,
          std::min(panels * (j + 1) / cut.by_inputs * kWeightGradientInputs, params.inputs)};
      kernel(params, part, static_cast<char*>(workspace.get()) + first * bytes);
    }
  });
}

void weight_gradient(const Tensor& grad_weight, const OptionalTensor& grad_bias,
                     const Tensor& grad_out, const Tensor& x, bool add) {
  const Checks check("weight_gradient_", "grad_out", grad_out);
  for (const auto& [name, rows] : {std::pair{"grad_out", &grad_out}, {"x", &x}}) {
    check.dtype(name, *rows, grad_out.scalar_type());
    check.that(rows->dim() == 2, name, " must have 2 dimensions, got ", rows->dim());
    check.unit_stride(name, *rows);
  }
  const int64_t rows = x.size(0), outputs = grad_out.size(1), inputs = x.size(1);
  check.that(grad_out.size(0) == rows, "grad_out and x must have the same rows, got ",
             grad_out.size(0), " and ", rows);
  check.tensor("grad_weight", grad_weight, stat_type(grad_out), {outputs, inputs});
  check.tensor("grad_bias", grad_bias, stat_type(grad_out), {outputs});
  check.apart({{"grad_weight", grad_weight}}, {{"grad_out", grad_out}, {"x", x}});
  if (grad_bias.has_value()) {
    check.apart({{"grad_bias", *grad_bias}},
                {{"grad_weight", grad_weight}, {"grad_out", grad_out}, {"x", x}});
  }
  const ScalarType dtype = grad_out.scalar_type();
  for_types<float, double, Bfloat16>(check.op, "grad_out", dtype, [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    if (outputs == 0 || (inputs == 0 && !grad_bias.has_value())) return;
    run(WeightGradientParams<scalar_t, stat_t>{
        data<const scalar_t>(grad_out), data<const scalar_t>(x), grad_out.stride(0), x.stride(0),
        rows, outputs, inputs, data<stat_t>(grad_weight), data_or_null<stat_t>(grad_bias), add});
  });
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("weight_gradient_", TORCH_BOX(&lexforge::weight_gradient));
}
