// CPU binding of few_rows_linear.h.
#include "common/cpu_binding.h"
#include "transformer/few_rows_linear.h"

namespace lexforge {
namespace {

constexpr int64_t kWorkPerThread = 1 << 15;  // multiply-adds that a thread is woken for
constexpr int64_t kMostTiled = 32;           // rows that the tiles take

Tensor few_rows_linear(const Tensor& x, const Tensor& weight, const OptionalTensor& bias) {
  const Checks check("few_rows_linear", "x", x);
  check.that(x.dim() == 2, "x must have 2 dimensions, got ", x.dim());
  const int64_t rows = x.size(0), inputs = x.size(1);
  const ScalarType dtype = x.scalar_type();
  check.tensor("x", x, dtype, {rows, inputs});
  check.tensor("weight", weight, dtype, {Checks::kAny, inputs});
  const int64_t outputs = weight.size(0);
  check.tensor("bias", bias, dtype, {outputs});
  const Tensor y = new_empty(x, {rows, outputs});
  for_types<float, double, Bfloat16>(check.op, "x", dtype, [&]<typename scalar_t>() {
    if (rows == 0 || outputs == 0) return;
    const bool tiles = std::is_same_v<scalar_t, Bfloat16> && rows <= kMostTiled && cpu_has_tiles();
    const FewRowsLinearParams<scalar_t> params{data<const scalar_t>(x),
                                               data<const scalar_t>(weight),
                                               data_or_null<const scalar_t>(bias),
                                               data<scalar_t>(y),
                                               rows,
                                               outputs,
                                               inputs,
                                               tiles};
    auto* kernel = LEXFORGE_CHOOSE_BF16(scalar_t, few_rows_linear<scalar_t>);
    const int64_t each = tiles ? kFewRowsTiles : kFewRowsOutputs;
    const int64_t work = each * std::max<int64_t>(1, inputs * rows);
    parallel_with_scratch(check.op, (outputs + each - 1) / each, kWorkPerThread / work,
                          few_rows_linear_memory(rows, inputs, sizeof(scalar_t)),
                          [&](int64_t first, int64_t last, void* memory) {
                            kernel(params, first * each, std::min(last * each, outputs), memory);
                          });
  });
  return y;
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("few_rows_linear", TORCH_BOX(&lexforge::few_rows_linear));
}
