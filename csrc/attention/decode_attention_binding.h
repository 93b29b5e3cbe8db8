// The body of decode_attention_ on any device.
#pragma once

#include <cmath>
#include <utility>

#include "attention/decode_attention.h"
#include "common/binding.h"

namespace lexforge {

template <typename scalar_t>
DecodeRows<scalar_t> decode_rows(const Tensor& rows) {
  return {data<const scalar_t>(rows), rows.stride(0), rows.stride(1)};
}

template <typename Device>
Tensor decode_attention(const Tensor& q, const OptionalTensor& k, const OptionalTensor& v,
                        const Tensor& k_cache, const Tensor& v_cache, const Tensor& lengths,
                        double scale) {
  const Checks check("decode_attention_", "q", q);
  check.that(q.dim() == 3, "q must be [B, H, D], got ", q.dim(), " dimensions");
  check.unit_stride("q", q);
  const int64_t sequences = q.size(0), heads = q.size(1), dim = q.size(2);
  check.that(1 <= dim && dim <= kMaxDecodeDim, "head_dim must be 1 to ", kMaxDecodeDim, ", got ",
             dim);
  check.that(k.has_value() == v.has_value(), "k and v must be given both or neither");
  for (const auto& [name, rows] : {std::pair{"k", &k}, {"v", &v}}) {
    if (!rows->has_value()) continue;
    check.shape_of("q", q, name, **rows);
    check.unit_stride(name, **rows);
  }
  check.tensor("k_cache", k_cache, q.scalar_type(), {sequences, heads, Checks::kAny, dim});
  check.like("k_cache", k_cache, "v_cache", v_cache);
  const int64_t capacity = k_cache.size(2);
  check.that(capacity <= kMaxDecodeCapacity, "the caches must have at most ", kMaxDecodeCapacity,
             " places, got ", capacity);
  check.tensor("lengths", lengths, ScalarType::Int, {sequences});
  check.that(heads == 0 || sequences <= INT32_MAX / heads, "too many sequences and heads");
  check.that(std::isfinite(scale) && scale > 0, "scale must be finite and > 0, got ", scale);
  check.apart({{"k_cache", k_cache}, {"v_cache", v_cache}}, {{"q", q}, {"lengths", lengths}});
  if (k.has_value()) {
    check.apart({{"k_cache", k_cache}, {"v_cache", v_cache}}, {{"k", *k}, {"v", *v}});
  }
  const Device device(q);
  const Tensor out = new_empty(q, q.sizes());
  for_types<float, double, Bfloat16>(check.op, "q", q.scalar_type(), [&]<typename scalar_t>() {
    const DecodeAttentionParams<scalar_t> params{
        .q = decode_rows<scalar_t>(q),
        .k = k.has_value() ? decode_rows<scalar_t>(*k) : DecodeRows<scalar_t>{},
        .v = v.has_value() ? decode_rows<scalar_t>(*v) : DecodeRows<scalar_t>{},
        .k_cache = data<scalar_t>(k_cache),
        .v_cache = data<scalar_t>(v_cache),
        .lengths = data<const int32_t>(lengths),
        .sequences = sequences,
        .heads = heads,
        .capacity = capacity,
        .dim = dim,
        .scale = scale,
        .out = data<scalar_t>(out),
    };
    Device::check_lengths(check, params);
    if (sequences * heads > 0) device.run(params, out);
  });
  return out;
}

}  // namespace lexforge
