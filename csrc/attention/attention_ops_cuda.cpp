// CUDA binding of attention.h. The content of cu_seqlens and valid_lens is not looked at here.
#include <tuple>

#include "attention/attention_binding.h"
#include "attention/attention_cuda.h"
#include "common/cuda_binding.h"

namespace lexforge {
namespace {

template <typename scalar_t, typename stat_t>
void forward(const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
             const Tensor& out, const Tensor& lse, void* stream) {
  const AttentionParams<scalar_t, stat_t> params{shape,
                                                 attention_rows<const scalar_t>(q),
                                                 attention_rows<const scalar_t>(k),
                                                 attention_rows<const scalar_t>(v),
                                                 attention_rows<scalar_t>(out),
                                                 data<stat_t>(lse)};
  launch_attention(params, stream);
}

std::tuple<Tensor, Tensor> attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                     const OptionalTensor& cu_seqlens,
                                     const OptionalTensor& valid_lens, const OptionalTensor& seed,
                                     int64_t max_seqlen, bool causal, double dropout_p,
                                     double scale) {
  const char* op = "attention";
  const AttentionShape shape = attention_shape(op, q, k, v, cu_seqlens, valid_lens, seed,
                                               max_seqlen, causal, dropout_p, scale);
  const CudaCall call(q);
  Tensor out = new_like(q), lse = new_lse(q);
  switch (q.scalar_type()) {
    case ScalarType::Float:
      forward<float, float>(shape, q, k, v, out, lse, call.stream());
      break;
    case ScalarType::Double:
      forward<double, double>(shape, q, k, v, out, lse, call.stream());
      break;
    case ScalarType::BFloat16:
      forward<Bfloat16, float>(shape, q, k, v, out, lse, call.stream());
      break;
    default:
      STD_TORCH_CHECK(false, op, ": q must be float32, float64 or bfloat16");
  }
  return {out, lse};
}

struct Gradients {
  Tensor q, k, v;
};

template <typename scalar_t, typename stat_t>
void backward(const AttentionShape& shape, const Tensor& grad_out, const Tensor& q, const Tensor& k,
              const Tensor& v, const Tensor& out, const Tensor& lse, const Gradients& grads,
              void* stream) {
  const AttentionBackwardParams<scalar_t, stat_t> params{shape,
                                                         attention_rows<const scalar_t>(q),
                                                         attention_rows<const scalar_t>(k),
                                                         attention_rows<const scalar_t>(v),
                                                         attention_rows<const scalar_t>(out),
                                                         attention_rows<const scalar_t>(grad_out),
                                                         data<const stat_t>(lse),
                                                         attention_rows<scalar_t>(grads.q),
                                                         attention_rows<scalar_t>(grads.k),
                                                         attention_rows<scalar_t>(grads.v)};
  const Tensor scratch =
      torch::stable::new_empty(q, {attention_backward_scratch<scalar_t>(shape)}, lse.scalar_type());
  launch_attention_backward(params, data<stat_t>(scratch), stream);
}

std::tuple<Tensor, Tensor, Tensor> attention_backward(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
    const Tensor& lse, const OptionalTensor& cu_seqlens, const OptionalTensor& valid_lens,
    const OptionalTensor& seed, int64_t max_seqlen, bool causal, double dropout_p, double scale) {
  const char* op = "attention_backward";
  const AttentionShape shape = attention_shape(op, q, k, v, cu_seqlens, valid_lens, seed,
                                               max_seqlen, causal, dropout_p, scale);
  check_saved(op, grad_out, out, lse, q);
  const CudaCall call(q);
  const Gradients grads{new_like(q), new_like(q), new_like(q)};
  switch (q.scalar_type()) {
    case ScalarType::Float:
      backward<float, float>(shape, grad_out, q, k, v, out, lse, grads, call.stream());
      break;
    case ScalarType::Double:
      backward<double, double>(shape, grad_out, q, k, v, out, lse, grads, call.stream());
      break;
    case ScalarType::BFloat16:
      backward<Bfloat16, float>(shape, grad_out, q, k, v, out, lse, grads, call.stream());
      break;
    default:
      STD_TORCH_CHECK(false, op, ": q must be float32, float64 or bfloat16");
  }
  return {grads.q, grads.k, grads.v};
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("attention", TORCH_BOX(&lexforge::attention));
  m.impl("attention_backward", TORCH_BOX(&lexforge::attention_backward));
}
