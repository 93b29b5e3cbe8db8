// What the CPU and the CUDA binding of embedding_sum share: checks, and tensors to params.
#pragma once

#include <optional>

#include "common/check.h"
#include "transformer/embedding_sum.h"

namespace lexforge {

using OptionalTensor = std::optional<Tensor>;

// The arguments that forward and backward share.
struct EmbeddingArguments {
  const char* op;
  const Tensor& tokens;
  const OptionalTensor& segments;
  const Tensor& positions;
  const Tensor& token_table;
  const OptionalTensor& segment_table;
  const Tensor& position_table;
  const OptionalTensor& norm_weight;
  const OptionalTensor& seed;
  double dropout_p;

  void check() const {
    const ScalarType dtype = token_table.scalar_type();
    STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, op,
                    ": token_table must be float32 or float64");
    check_contiguous(token_table, dtype, 2, op, "token_table");
    STD_TORCH_CHECK(token_table.size(1) > 0, op, ": token_table must have columns");
    check_table(position_table, "position_table");
    check_ids(tokens, "tokens");
    check_ids(positions, "positions");
    STD_TORCH_CHECK(segments.has_value() == segment_table.has_value(), op,
                    ": segments go with segment_table");
    if (segments.has_value()) {
      check_table(*segment_table, "segment_table");
      check_ids(*segments, "segments");
    }
    if (norm_weight.has_value()) check_vector(*norm_weight, token_table.size(1), "norm_weight");
    STD_TORCH_CHECK(0 <= dropout_p && dropout_p <= 1, op, ": dropout_p must be 0 to 1");
    if (dropout_p > 0) {
      STD_TORCH_CHECK(
          seed.has_value() && seed->scalar_type() == ScalarType::Long && seed->numel() == 1, op,
          ": seed must be one int64");
      check_device(*seed, "seed");
    }
  }

  // What the backward takes besides.
  void check_gradient(const Tensor& grad_out, const Tensor& mean, const Tensor& rstd) const {
    check_out_dtype(grad_out.scalar_type(), "grad_out");
    check_contiguous(grad_out, grad_out.scalar_type(), 2, op, "grad_out");
    STD_TORCH_CHECK(grad_out.size(0) == tokens.size(0) && grad_out.size(1) == token_table.size(1),
                    op, ": grad_out must be [T, H]");
    check_device(grad_out, "grad_out");
    check_vector(mean, statistics(), "mean");
    check_vector(rstd, statistics(), "rstd");
  }

  // What the forward takes besides.
  void check_forward(const OptionalTensor& norm_bias, ScalarType dtype) const {
    check_out_dtype(dtype, "dtype");
    STD_TORCH_CHECK(norm_weight.has_value() == norm_bias.has_value(), op,
                    ": norm_weight goes with norm_bias");
    if (norm_bias.has_value()) check_vector(*norm_bias, token_table.size(1), "norm_bias");
  }

  // Rows that have a mean and an rstd.
  int64_t statistics() const { return norm_weight.has_value() ? tokens.size(0) : 0; }

  // Whether the gradient of z is that of out.
  bool plain() const { return !norm_weight.has_value() && dropout_p == 0; }

  template <typename stat_t>
  EmbeddingRows<stat_t> rows() const {
    const bool has_segments = segments.has_value();
    return {
        .tokens = data<const int32_t>(tokens),
        .segments = has_segments ? data<const int32_t>(*segments) : nullptr,
        .positions = data<const int32_t>(positions),
        .token_table = data<const stat_t>(token_table),
        .segment_table = has_segments ? data<const stat_t>(*segment_table) : nullptr,
        .position_table = data<const stat_t>(position_table),
        .token_rows = token_table.size(0),
        .segment_rows = has_segments ? segment_table->size(0) : 0,
        .position_rows = position_table.size(0),
        .count = tokens.size(0),
        .width = token_table.size(1),
        .weight = norm_weight.has_value() ? data<const stat_t>(*norm_weight) : nullptr,
        .dropout = dropout_of(dropout_p > 0 ? data<const int64_t>(*seed) : nullptr, dropout_p),
    };
  }

 private:
  // A vector of the tables' dtype.
  void check_vector(const Tensor& vector, int64_t size, const char* name) const {
    check_contiguous(vector, token_table.scalar_type(), 1, op, name);
    STD_TORCH_CHECK(vector.size(0) == size, op, ": ", name, " must be [", size, "], got [",
                    vector.size(0), "]");
    check_device(vector, name);
  }
  void check_out_dtype(ScalarType dtype, const char* name) const {
    const ScalarType table = token_table.scalar_type();
    STD_TORCH_CHECK(dtype == table || (dtype == ScalarType::BFloat16 && table == ScalarType::Float),
                    op, ": ", name,
                    " must be of the tables' dtype, or bfloat16 with float32 tables");
  }
  void check_device(const Tensor& tensor, const char* name) const {
    check_devices(op, {{"token_table", token_table}, {name, tensor}});
  }
  void check_table(const Tensor& table, const char* name) const {
    check_contiguous(table, token_table.scalar_type(), 2, op, name);
    STD_TORCH_CHECK(table.size(1) == token_table.size(1), op, ": ", name, " must have ",
                    token_table.size(1), " columns, got ", table.size(1));
    STD_TORCH_CHECK(table.size(0) < INT32_MAX, op, ": ", name,
                    " must have fewer than 2^31 - 1 rows");
    check_device(table, name);
  }
  void check_ids(const Tensor& ids, const char* name) const {
    check_contiguous(ids, ScalarType::Int, 1, op, name);
    STD_TORCH_CHECK(ids.size(0) == tokens.size(0), op, ": ", name,
                    " must have the length of tokens");
    STD_TORCH_CHECK(ids.size(0) <= INT32_MAX, op, ": ", name, " must have fewer than 2^31 entries");
    check_device(ids, name);
  }
};

// out, and mean and rstd, which are empty without a norm.
struct EmbeddingResult {
  Tensor out, mean, rstd;

  EmbeddingResult(const EmbeddingArguments& arguments, ScalarType dtype)
      : out(torch::stable::new_empty(arguments.token_table,
                                     {arguments.tokens.size(0), arguments.token_table.size(1)},
                                     dtype)),
        mean(torch::stable::new_empty(arguments.token_table, {arguments.statistics()})),
        rstd(torch::stable::new_empty(arguments.token_table, {arguments.statistics()})) {}
};

// Not written yet; empty where there is nothing that they are the gradient of.
struct EmbeddingGradients {
  Tensor tokens, segments, positions, weight, bias;

  explicit EmbeddingGradients(const EmbeddingArguments& arguments) {
    const Tensor& like = arguments.token_table;
    const int64_t width = like.size(1);
    const int64_t norm_width = arguments.norm_weight.has_value() ? width : 0;
    tokens = torch::stable::new_empty(like, {like.size(0), width});
    segments = torch::stable::new_empty(
        like, {arguments.segments.has_value() ? arguments.segment_table->size(0) : 0, width});
    positions = torch::stable::new_empty(like, {arguments.position_table.size(0), width});
    weight = torch::stable::new_empty(like, {norm_width});
    bias = torch::stable::new_empty(like, {norm_width});
  }
};

// function(out_t, stat_t) for the dtype of out.
template <typename Function>
void for_embedding_types(ScalarType dtype, const Function& function) {
  switch (dtype) {
    case ScalarType::Float:
      return function(float{}, float{});
    case ScalarType::Double:
      return function(double{}, double{});
    default:
      return function(Bfloat16{}, float{});
  }
}

template <typename out_t, typename stat_t>
EmbeddingSumParams<out_t, stat_t> embedding_sum_params(const EmbeddingArguments& arguments,
                                                       const OptionalTensor& norm_bias, double eps,
                                                       const EmbeddingResult& result) {
  return {
      .rows = arguments.rows<stat_t>(),
      .bias = norm_bias.has_value() ? data<const stat_t>(*norm_bias) : nullptr,
      .eps = eps,
      .out = data<out_t>(result.out),
      .mean = data<stat_t>(result.mean),
      .rstd = data<stat_t>(result.rstd),
  };
}

// From the gradient of out to that of z, which is the same without a norm and dropout; `group` t to
// a group of the sums over t.
struct EmbeddingSumGradient {
  Tensor sum, partial;
  int64_t group, groups;
  bool norm;

  EmbeddingSumGradient(const EmbeddingArguments& arguments, int64_t group)
      : group(group),
        groups((arguments.tokens.size(0) + group - 1) / group),
        norm(arguments.norm_weight.has_value()) {
    const Tensor& like = arguments.token_table;
    sum = torch::stable::new_empty(like, {arguments.tokens.size(0), like.size(1)});
    partial = torch::stable::new_empty(like, {norm ? groups : 0, 2, like.size(1)});
  }

  template <typename out_t, typename stat_t>
  EmbeddingSumBackwardParams<out_t, stat_t> params(const EmbeddingArguments& arguments,
                                                   const Tensor& grad_out, const Tensor& mean,
                                                   const Tensor& rstd) const {
    return {
        .rows = arguments.rows<stat_t>(),
        .grad_out = data<const out_t>(grad_out),
        .mean = data<const stat_t>(mean),
        .rstd = data<const stat_t>(rstd),
        .grad_sum = data<stat_t>(sum),
        .group = group,
        .partial = data<stat_t>(partial),
    };
  }
};

}  // namespace lexforge
