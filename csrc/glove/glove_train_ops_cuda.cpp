// CUDA binding of glove_train_.
#include "common/cuda_binding.h"
#include "glove/glove_train_binding.h"
#include "glove/glove_train_cuda.h"

namespace lexforge {
namespace {

void glove_train(Tensor& word_table, Tensor& context_table, Tensor& stats, int64_t parts,
                 const Tensor& tile_begin, const Tensor& segment_row, const Tensor& segment_begin,
                 const Tensor& column, const Tensor& log_count, int64_t first_round,
                 int64_t last_round, int64_t dim, std::string optimizer, double learning_rate,
                 double bias_rate, double x_max, double alpha, double clip, double beta1,
                 double beta2, double epsilon, bool deterministic, int64_t /*threads*/) {
  const auto with = [&]<typename scalar_t>() {
    const auto params = glove_train_params<scalar_t>(
        word_table, context_table, stats, parts, tile_begin, segment_row, segment_begin, column,
        log_count, first_round, last_round, dim, optimizer, learning_rate, bias_rate, x_max, alpha,
        clip, beta1, beta2, epsilon);
    if (first_round == last_round) return;
    const CudaCall call(word_table);
    const Tensor scratch = torch::stable::new_empty(stats, {glove_train_scratch(parts)});
    launch_glove_train(params, first_round, last_round, deterministic, data<double>(scratch),
                       data<double>(stats), call.stream());
  };
  if (word_table.scalar_type() == ScalarType::Float) {
    with.operator()<float>();
  } else {
    STD_TORCH_CHECK(word_table.scalar_type() == ScalarType::Double,
                    "glove_train_: word_table must be float32 or float64");
    with.operator()<double>();
  }
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) { m.impl("glove_train_", TORCH_BOX(&lexforge::glove_train)); }
