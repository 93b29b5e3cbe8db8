// The body of attention.h's ops on any device.
#pragma once

#include <cmath>
#include <tuple>
#include <vector>

#include "attention/attention.h"
#include "common/binding.h"

namespace lexforge {

// The arguments that forward and backward share, checked for all that does not need the content of
// cu_seqlens and valid_lens.
inline AttentionShape attention_shape(const Checks& check, const Tensor& q, const Tensor& k,
                                      const Tensor& v, const OptionalTensor& cu_seqlens,
                                      const OptionalTensor& valid_lens, const OptionalTensor& seed,
                                      int64_t max_seqlen, bool causal, double dropout_p,
                                      double scale) {
  const bool packed = cu_seqlens.has_value();
  check.that(q.dim() == (packed ? 3 : 4), "q must be ",
             packed ? "[T, H, D] with cu_seqlens" : "[B, S, H, D] without cu_seqlens");
  check.unit_stride("q", q);
  for (const auto& [name, rows] : {std::pair{"k", &k}, {"v", &v}}) {
    check.shape_of("q", q, name, *rows);
    check.unit_stride(name, *rows);
  }
  AttentionShape shape{};
  shape.heads = q.size(q.dim() - 2);
  shape.dim = q.size(q.dim() - 1);
  check.that(1 <= shape.dim && shape.dim <= kMaxHeadDim, "head_dim must be 1 to ", kMaxHeadDim,
             ", got ", shape.dim);
  check.that(0 <= max_seqlen && max_seqlen < int64_t{1} << 27,
             "max_seqlen must be below 2^27, got ", max_seqlen);
  shape.max_length = max_seqlen;
  if (packed) {
    check.that(!valid_lens.has_value(), "valid_lens goes with padded tensors");
    check.tensor("cu_seqlens", cu_seqlens, ScalarType::Int, {Checks::kAny});
    check.that(cu_seqlens->size(0) >= 1, "cu_seqlens must be [B + 1], got [0]");
    shape.sequences = cu_seqlens->size(0) - 1;
    shape.tokens = q.size(0);
    shape.cu_seqlens = data<const int32_t>(*cu_seqlens);
  } else {
    shape.sequences = q.size(0);
    check.that(max_seqlen == q.size(1), "max_seqlen must be S = ", q.size(1), ", got ", max_seqlen);
    shape.tokens = shape.sequences * max_seqlen;
  }
  if (valid_lens.has_value()) {
    shape.valid_per_query = valid_lens->dim() == 2;
    if (shape.valid_per_query) {
      check.tensor("valid_lens", valid_lens, ScalarType::Int, {shape.sequences, max_seqlen});
    } else {
      check.tensor("valid_lens", valid_lens, ScalarType::Int, {shape.sequences});
    }
    shape.valid_lens = data<const int32_t>(*valid_lens);
  }
  check.that(shape.heads == 0 || shape.sequences <= INT32_MAX / shape.heads,
             "too many sequences and heads");
  check.that(std::isfinite(scale) && scale > 0, "scale must be finite and > 0, got ", scale);
  check.dropout(dropout_p, seed);
  shape.causal = causal;
  shape.scale = scale;
  shape.dropout = dropout_of(dropout_p > 0 ? data<const int64_t>(*seed) : nullptr, dropout_p);
  return shape;
}

template <typename scalar_t>
AttentionRows<scalar_t> attention_rows(const Tensor& rows) {
  const int64_t dims = rows.dim();
  return {data<scalar_t>(rows), dims == 4 ? rows.stride(0) : 0, rows.stride(dims - 3),
          rows.stride(dims - 2)};
}

// (out, lse).
template <typename Device>
std::tuple<Tensor, Tensor> attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                     const OptionalTensor& cu_seqlens,
                                     const OptionalTensor& valid_lens, const OptionalTensor& seed,
                                     int64_t max_seqlen, bool causal, double dropout_p,
                                     double scale) {
  const Checks check("attention", "q", q);
  const AttentionShape shape = attention_shape(check, q, k, v, cu_seqlens, valid_lens, seed,
                                               max_seqlen, causal, dropout_p, scale);
  Device::check_lengths(check, shape);
  const Device device(q);
  const auto sizes = q.sizes();
  const Tensor out = new_empty(q, sizes);
  const Tensor lse = new_empty(q, sizes.slice(0, sizes.size() - 1), stat_type(q));
  for_types<float, double, Bfloat16>(check.op, "q", q.scalar_type(), [&]<typename scalar_t>() {
    device.run(AttentionParams<scalar_t, Stat<scalar_t>>{
        shape, attention_rows<const scalar_t>(q), attention_rows<const scalar_t>(k),
        attention_rows<const scalar_t>(v), attention_rows<scalar_t>(out),
        data<Stat<scalar_t>>(lse)});
  });
  return {out, lse};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> attention_backward(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
    const Tensor& lse, const OptionalTensor& cu_seqlens, const OptionalTensor& valid_lens,
    const OptionalTensor& seed, int64_t max_seqlen, bool causal, double dropout_p, double scale) {
  const Checks check("attention_backward", "q", q);
  const AttentionShape shape = attention_shape(check, q, k, v, cu_seqlens, valid_lens, seed,
                                               max_seqlen, causal, dropout_p, scale);
  for (const auto& [name, rows] : {std::pair{"grad_out", &grad_out}, {"out", &out}}) {
    check.shape_of("q", q, name, *rows);
    check.unit_stride(name, *rows);
  }
  if (q.dim() == 3) {
    check.tensor("lse", lse, stat_type(q), {q.size(0), q.size(1)});
  } else {
    check.tensor("lse", lse, stat_type(q), {q.size(0), q.size(1), q.size(2)});
  }
  Device::check_lengths(check, shape);
  const Device device(q);
  const Tensor grad_q = new_empty(q, q.sizes()), grad_k = new_empty(q, q.sizes()),
               grad_v = new_empty(q, q.sizes());
  for_types<float, double, Bfloat16>(check.op, "q", q.scalar_type(), [&]<typename scalar_t>() {
    device.run(
        AttentionBackwardParams<scalar_t, Stat<scalar_t>>{
            shape, attention_rows<const scalar_t>(q), attention_rows<const scalar_t>(k),
            attention_rows<const scalar_t>(v), attention_rows<const scalar_t>(out),
            attention_rows<const scalar_t>(grad_out), data<const Stat<scalar_t>>(lse),
            attention_rows<scalar_t>(grad_q), attention_rows<scalar_t>(grad_k),
            attention_rows<scalar_t>(grad_v)},
        lse);
  });
  return {grad_q, grad_k, grad_v};
}

}  // namespace lexforge
