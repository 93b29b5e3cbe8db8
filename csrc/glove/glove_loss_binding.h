// What the CPU and the CUDA binding of glove_loss share: checks, and tensors to params.
#pragma once

#include "common/check.h"
#include "glove/glove_loss.h"

namespace lexforge {

inline void check_glove_entries(const char* op, const Tensor& word, const Tensor& context,
                                const Tensor& rows, const Tensor& cols) {
  const ScalarType dtype = word.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, op,
                  ": word must be float32 or float64");
  check_contiguous(word, dtype, 2, op, "word");
  check_contiguous(context, dtype, 2, op, "context");
  STD_TORCH_CHECK(context.size(0) == word.size(0) && context.size(1) == word.size(1), op,
                  ": context must have the shape of word");
  STD_TORCH_CHECK(word.size(0) < INT32_MAX, op, ": word must have fewer than 2^31 - 1 rows, got ",
                  word.size(0));
  check_contiguous(rows, ScalarType::Int, 1, op, "rows");
  check_contiguous(cols, ScalarType::Int, 1, op, "cols");
  check_devices(op, {{"word", word}, {"context", context}, {"rows", rows}, {"cols", cols}});
  STD_TORCH_CHECK(rows.size(0) <= INT32_MAX, op, ": rows must have fewer than 2^31 entries, got ",
                  rows.size(0));
  STD_TORCH_CHECK(cols.size(0) == rows.size(0), op, ": cols must have the length of rows");
}

// `values` is one number of each entry, or of each word.
inline void check_glove_vector(const char* op, const Tensor& values, ScalarType dtype, int64_t size,
                               const char* name) {
  check_contiguous(values, dtype, 1, op, name);
  STD_TORCH_CHECK(values.size(0) == size, op, ": ", name, " must be [", size, "], got [",
                  values.size(0), "]");
}

inline void check_glove_loss(const char* op, const Tensor& word, const Tensor& context,
                             const Tensor& word_bias, const Tensor& context_bias,
                             const Tensor& rows, const Tensor& cols, const Tensor& counts) {
  check_glove_entries(op, word, context, rows, cols);
  const ScalarType dtype = word.scalar_type();
  check_glove_vector(op, word_bias, dtype, word.size(0), "word_bias");
  check_glove_vector(op, context_bias, dtype, word.size(0), "context_bias");
  check_glove_vector(op, counts, dtype, rows.size(0), "counts");
  check_devices(op, {{"word", word},
                     {"word_bias", word_bias},
                     {"context_bias", context_bias},
                     {"counts", counts}});
}

inline void check_glove_gradient(const char* op, const Tensor& grad_loss, const Tensor& slope,
                                 const Tensor& word, const Tensor& context, const Tensor& rows,
                                 const Tensor& cols) {
  check_glove_entries(op, word, context, rows, cols);
  check_glove_vector(op, grad_loss, word.scalar_type(), rows.size(0), "grad_loss");
  check_glove_vector(op, slope, word.scalar_type(), rows.size(0), "slope");
  check_devices(op, {{"word", word}, {"grad_loss", grad_loss}, {"slope", slope}});
}

template <typename scalar_t>
GloveLossParams<scalar_t> glove_loss_params(const Tensor& word, const Tensor& context,
                                            const Tensor& word_bias, const Tensor& context_bias,
                                            const Tensor& rows, const Tensor& cols,
                                            const Tensor& counts, double x_max, double alpha,
                                            const Tensor& loss, const Tensor& slope) {
  return {
      .word = data<const scalar_t>(word),
      .context = data<const scalar_t>(context),
      .word_bias = data<const scalar_t>(word_bias),
      .context_bias = data<const scalar_t>(context_bias),
      .vocab_size = word.size(0),
      .dim = word.size(1),
      .rows = data<const int32_t>(rows),
      .cols = data<const int32_t>(cols),
      .counts = data<const scalar_t>(counts),
      .entries = rows.size(0),
      .x_max = x_max,
      .alpha = alpha,
      .loss = data<scalar_t>(loss),
      .slope = data<scalar_t>(slope),
  };
}

template <typename scalar_t>
GloveLossSide<scalar_t> glove_loss_side(const Tensor& other, const Tensor& other_row,
                                        const Tensor& slope, const Tensor& grad_loss,
                                        const Tensor& grad, const Tensor& grad_bias) {
  return {
      .other = data<const scalar_t>(other),
      .other_row = data<const int32_t>(other_row),
      .slope = data<const scalar_t>(slope),
      .grad_loss = data<const scalar_t>(grad_loss),
      .dim = other.size(1),
      .grad = data<scalar_t>(grad),
      .grad_bias = data<scalar_t>(grad_bias),
  };
}

// Gradients of the tables and the biases, zeros at first.
struct GloveGradients {
  Tensor word, context, word_bias, context_bias;

  GloveGradients(const Tensor& word_table, const Tensor& context_table)
      : word(torch::stable::new_zeros(word_table, {word_table.size(0), word_table.size(1)})),
        context(torch::stable::new_zeros(context_table,
                                         {context_table.size(0), context_table.size(1)})),
        word_bias(torch::stable::new_zeros(word_table, {word_table.size(0)})),
        context_bias(torch::stable::new_zeros(context_table, {context_table.size(0)})) {}
};

}  // namespace lexforge
