// The body of glove_loss.h's ops on any device.
#pragma once

#include <tuple>

#include "common/binding.h"
#include "glove/glove_loss.h"

namespace lexforge {

template <typename Device>
void check_glove_entries(const Checks& check, const Tensor& word, const Tensor& context,
                         const Tensor& rows, const Tensor& cols) {
  check.tensor("word", word, word.scalar_type(), {Checks::kAny, Checks::kAny});
  check.like("word", word, "context", context);
  check.that(word.size(0) < INT32_MAX, "word must have fewer than 2^31 - 1 rows, got ",
             word.size(0));
  check.tensor("rows", rows, ScalarType::Int, {Checks::kAny});
  check.tensor("cols", cols, ScalarType::Int, {rows.size(0)});
  check.that(rows.size(0) <= INT32_MAX, "rows must have fewer than 2^31 entries, got ",
             rows.size(0));
  Device::check_ids(check, "rows", rows, word.size(0));
  Device::check_ids(check, "cols", cols, word.size(0));
}

template <typename Device>
std::tuple<Tensor, Tensor> glove_loss(const Tensor& word, const Tensor& context,
                                      const Tensor& word_bias, const Tensor& context_bias,
                                      const Tensor& rows, const Tensor& cols, const Tensor& counts,
                                      double x_max, double alpha) {
  const Checks check("glove_loss", "word", word);
  const ScalarType dtype = word.scalar_type();
  check_glove_entries<Device>(check, word, context, rows, cols);
  check.tensor("word_bias", word_bias, dtype, {word.size(0)});
  check.tensor("context_bias", context_bias, dtype, {word.size(0)});
  check.tensor("counts", counts, dtype, {rows.size(0)});
  const Device device(word);
  const Tensor loss = new_empty(word, {rows.size(0)}), slope = new_empty(word, {rows.size(0)});
  for_types<float, double>(check.op, "word", dtype, [&]<typename scalar_t>() {
    device.run(GloveLossParams<scalar_t>{
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
    });
  });
  return {loss, slope};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> glove_loss_backward(
    const Tensor& grad_loss, const Tensor& slope, const Tensor& word, const Tensor& context,
    const Tensor& rows, const Tensor& cols) {
  const Checks check("glove_loss_backward", "word", word);
  const ScalarType dtype = word.scalar_type();
  check_glove_entries<Device>(check, word, context, rows, cols);
  check.tensor("grad_loss", grad_loss, dtype, {rows.size(0)});
  check.tensor("slope", slope, dtype, {rows.size(0)});
  const Device device(word);
  const int64_t words = word.size(0), dim = word.size(1);
  const Tensor grad_word = new_zeros(word, {words, dim}), word_bias = new_zeros(word, {words});
  const Tensor grad_context = new_zeros(word, {words, dim}),
               context_bias = new_zeros(word, {words});
  for_types<float, double>(check.op, "word", dtype, [&]<typename scalar_t>() {
    const auto side = [&](const Tensor& ids, const Tensor& other, const Tensor& other_ids,
                          const Tensor& grad, const Tensor& grad_bias) {
      device.run(
          GloveLossSide<scalar_t>{
              .other = data<const scalar_t>(other),
              .other_row = data<const int32_t>(other_ids),
              .slope = data<const scalar_t>(slope),
              .grad_loss = data<const scalar_t>(grad_loss),
              .dim = dim,
              .grad = data<scalar_t>(grad),
              .grad_bias = data<scalar_t>(grad_bias),
          },
          ids, word);
    };
    side(rows, context, cols, grad_word, word_bias);
    side(cols, word, rows, grad_context, context_bias);
  });
  return {grad_word, grad_context, word_bias, context_bias};
}

}  // namespace lexforge
