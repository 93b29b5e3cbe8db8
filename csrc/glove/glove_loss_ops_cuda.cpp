// CUDA binding of glove_loss.h. Row numbers are checked by the Python wrapper.
#include <tuple>

#include "common/cuda_binding.h"
#include "glove/glove_loss_binding.h"

namespace lexforge {
namespace {

std::tuple<Tensor, Tensor> glove_loss(const Tensor& word, const Tensor& context,
                                      const Tensor& word_bias, const Tensor& context_bias,
                                      const Tensor& rows, const Tensor& cols, const Tensor& counts,
                                      double x_max, double alpha) {
  check_glove_loss("glove_loss", word, context, word_bias, context_bias, rows, cols, counts);
  const CudaCall call(word);
  Tensor loss = torch::stable::new_empty(word, {rows.size(0)});
  Tensor slope = torch::stable::new_empty(word, {rows.size(0)});
  if (word.scalar_type() == ScalarType::Float) {
    launch_glove_loss(glove_loss_params<float>(word, context, word_bias, context_bias, rows, cols,
                                               counts, x_max, alpha, loss, slope),
                      call.stream());
  } else {
    launch_glove_loss(glove_loss_params<double>(word, context, word_bias, context_bias, rows, cols,
                                                counts, x_max, alpha, loss, slope),
                      call.stream());
  }
  return {loss, slope};
}

template <typename scalar_t>
void grad_cuda(const GloveLossSide<scalar_t>& side, const Tensor& rows, const Tensor& like,
               void* stream) {
  const int64_t n = rows.size(0), vocab_size = like.size(0);
  if (n == 0) return;
  const Tensor keys = torch::stable::new_empty(rows, {n});
  const Tensor entry = torch::stable::new_empty(rows, {n});
  const Tensor sorted_row = torch::stable::new_empty(rows, {n});
  const Tensor sorted_entry = torch::stable::new_empty(rows, {n});
  launch_row_keys(data<const int32_t>(rows), n, vocab_size, data<int32_t>(keys),
                  data<int32_t>(entry), stream);
  const auto sort = [&](void* storage, size_t bytes) {
    return sort_by_row(storage, bytes, data<int32_t>(keys), data<int32_t>(sorted_row),
                       data<int32_t>(entry), data<int32_t>(sorted_entry), n, vocab_size, stream);
  };
  const size_t bytes = sort(nullptr, 0);
  const Tensor storage =
      torch::stable::new_empty(rows, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  sort(storage.data_ptr(), bytes);
  const int64_t chunks = (n + kGloveLossChunk - 1) / kGloveLossChunk;
  const Tensor partial = torch::stable::new_empty(like, {2 * chunks, side.dim + 1});
  launch_glove_loss_grad(
      GloveLossCudaSide<scalar_t>{side, n, vocab_size, data<const int32_t>(sorted_row),
                                  data<const int32_t>(sorted_entry), data<scalar_t>(partial)},
      stream);
}

template <typename scalar_t>
GloveGradients backward(const Tensor& grad_loss, const Tensor& slope, const Tensor& word,
                        const Tensor& context, const Tensor& rows, const Tensor& cols) {
  const CudaCall call(word);
  const GloveGradients grad(word, context);
  grad_cuda(glove_loss_side<scalar_t>(context, cols, slope, grad_loss, grad.word, grad.word_bias),
            rows, word, call.stream());
  grad_cuda(
      glove_loss_side<scalar_t>(word, rows, slope, grad_loss, grad.context, grad.context_bias),
      cols, context, call.stream());
  return grad;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> glove_loss_backward(
    const Tensor& grad_loss, const Tensor& slope, const Tensor& word, const Tensor& context,
    const Tensor& rows, const Tensor& cols) {
  check_glove_gradient("glove_loss_backward", grad_loss, slope, word, context, rows, cols);
  const GloveGradients grad = word.scalar_type() == ScalarType::Float
                                  ? backward<float>(grad_loss, slope, word, context, rows, cols)
                                  : backward<double>(grad_loss, slope, word, context, rows, cols);
  return {grad.word, grad.context, grad.word_bias, grad.context_bias};
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("glove_loss", TORCH_BOX(&lexforge::glove_loss));
  m.impl("glove_loss_backward", TORCH_BOX(&lexforge::glove_loss_backward));
}
