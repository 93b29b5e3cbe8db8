// Checks and parameters that the CPU and the CUDA binding of attention share.
#pragma once

#include <cmath>
#include <optional>

#include "attention/attention.h"
#include "common/check.h"

namespace lexforge {

using OptionalTensor = std::optional<Tensor>;

inline void check_rows(const char* op, const char* name, const Tensor& rows, const Tensor& q) {
  STD_TORCH_CHECK(rows.scalar_type() == q.scalar_type(), op, ": ", name,
                  " must have the dtype of q");
  STD_TORCH_CHECK(rows.dim() == q.dim(), op, ": ", name, " must have the shape of q");
  for (int64_t i = 0; i < q.dim(); ++i) {
    STD_TORCH_CHECK(rows.size(i) == q.size(i), op, ": ", name, " must have the shape of q");
  }
  STD_TORCH_CHECK(rows.size(rows.dim() - 1) == 1 || rows.stride(rows.dim() - 1) == 1, op, ": ",
                  name, " must have stride 1 in its last dimension");
}

// The arguments that forward and backward share, checked for all that does not need the content of
// cu_seqlens and valid_lens.
inline AttentionShape attention_shape(const char* op, const Tensor& q, const Tensor& k,
                                      const Tensor& v, const OptionalTensor& cu_seqlens,
                                      const OptionalTensor& valid_lens, const OptionalTensor& seed,
                                      int64_t max_seqlen, bool causal, double dropout_p,
                                      double scale) {
  const bool packed = cu_seqlens.has_value();
  STD_TORCH_CHECK(q.dim() == (packed ? 3 : 4), op, ": q must be ",
                  packed ? "[T, H, D] with cu_seqlens" : "[B, S, H, D] without cu_seqlens");
  check_rows(op, "q", q, q);
  check_rows(op, "k", k, q);
  check_rows(op, "v", v, q);
  check_devices(op, {{"q", q},
                     {"k", k},
                     {"v", v},
                     {"cu_seqlens", cu_seqlens},
                     {"valid_lens", valid_lens},
                     {"seed", seed}});
  AttentionShape shape{};
  shape.heads = q.size(q.dim() - 2);
  shape.dim = q.size(q.dim() - 1);
  STD_TORCH_CHECK(1 <= shape.dim && shape.dim <= kMaxHeadDim, op, ": head_dim must be 1 to ",
                  kMaxHeadDim, ", got ", shape.dim);
  STD_TORCH_CHECK(0 <= max_seqlen && max_seqlen < int64_t{1} << 27, op,
                  ": max_seqlen must be below 2^27, got ", max_seqlen);
  shape.max_length = max_seqlen;
  if (packed) {
    STD_TORCH_CHECK(!valid_lens.has_value(), op, ": valid_lens goes with padded tensors");
    check_contiguous(*cu_seqlens, ScalarType::Int, 1, op, "cu_seqlens");
    STD_TORCH_CHECK(cu_seqlens->size(0) >= 1, op, ": cu_seqlens must be [B + 1]");
    shape.sequences = cu_seqlens->size(0) - 1;
    shape.tokens = q.size(0);
    shape.cu_seqlens = data<const int32_t>(*cu_seqlens);
  } else {
    shape.sequences = q.size(0);
    STD_TORCH_CHECK(max_seqlen == q.size(1), op, ": max_seqlen must be S");
    shape.tokens = shape.sequences * max_seqlen;
  }
  if (valid_lens.has_value()) {
    shape.valid_per_query = valid_lens->dim() == 2;
    check_contiguous(*valid_lens, ScalarType::Int, shape.valid_per_query ? 2 : 1, op, "valid_lens");
    STD_TORCH_CHECK(valid_lens->size(0) == shape.sequences &&
                        (!shape.valid_per_query || valid_lens->size(1) == max_seqlen),
                    op, ": valid_lens must be [B] or [B, S]");
    shape.valid_lens = data<const int32_t>(*valid_lens);
  }
  STD_TORCH_CHECK(shape.heads == 0 || shape.sequences <= INT32_MAX / shape.heads, op,
                  ": too many sequences and heads");
  STD_TORCH_CHECK(std::isfinite(scale) && scale > 0, op, ": scale must be positive and finite");
  STD_TORCH_CHECK(0 <= dropout_p && dropout_p <= 1, op, ": dropout_p must be 0 to 1");
  shape.causal = causal;
  shape.scale = scale;
  if (dropout_p > 0) {
    STD_TORCH_CHECK(
        seed.has_value() && seed->scalar_type() == ScalarType::Long && seed->numel() == 1, op,
        ": seed must be one int64");
    shape.dropout = dropout_of(data<const int64_t>(*seed), dropout_p);
  } else {
    shape.dropout = dropout_of(nullptr, 0);
  }
  return shape;
}

template <typename scalar_t>
AttentionRows<scalar_t> attention_rows(const Tensor& rows) {
  const int64_t dims = rows.dim();
  return {data<scalar_t>(rows), dims == 4 ? rows.stride(0) : 0, rows.stride(dims - 3),
          rows.stride(dims - 2)};
}

inline void check_saved(const char* op, const Tensor& grad_out, const Tensor& out,
                        const Tensor& lse, const Tensor& q) {
  check_rows(op, "grad_out", grad_out, q);
  check_rows(op, "out", out, q);
  check_devices(op, {{"q", q}, {"grad_out", grad_out}, {"out", out}, {"lse", lse}});
  check_contiguous(lse,
                   q.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float,
                   q.dim() - 1, op, "lse");
  for (int64_t i = 0; i < lse.dim(); ++i) {
    STD_TORCH_CHECK(lse.size(i) == q.size(i), op, ": lse must be [T, H] or [B, S, H]");
  }
}

// (out, lse) to be filled; contiguous.
inline Tensor new_like(const Tensor& q) {
  if (q.dim() == 3) return torch::stable::new_empty(q, {q.size(0), q.size(1), q.size(2)});
  return torch::stable::new_empty(q, {q.size(0), q.size(1), q.size(2), q.size(3)});
}
inline Tensor new_lse(const Tensor& q) {
  const ScalarType dtype =
      q.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  if (q.dim() == 3) return torch::stable::new_empty(q, {q.size(0), q.size(1)}, dtype);
  return torch::stable::new_empty(q, {q.size(0), q.size(1), q.size(2)}, dtype);
}

}  // namespace lexforge
