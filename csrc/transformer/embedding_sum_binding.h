// The body of embedding_sum.h's ops on any device.
#pragma once

#include <tuple>

#include "common/binding.h"
#include "transformer/embedding_sum.h"

namespace lexforge {

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

  Checks check() const {
    const Checks check(op, "token_table", token_table);
    const ScalarType dtype = token_table.scalar_type();
    check.that(dtype == ScalarType::Float || dtype == ScalarType::Double,
               "token_table must be float32 or float64, got ", type_name(dtype));
    check.tensor("token_table", token_table, dtype, {Checks::kAny, Checks::kAny});
    check.that(token_table.size(1) > 0, "token_table must have columns");
    check_table(check, "position_table", position_table);
    check_ids(check, "tokens", tokens);
    check_ids(check, "positions", positions);
    check.that(segments.has_value() == segment_table.has_value(), "segments go with segment_table");
    if (segments.has_value()) {
      check_table(check, "segment_table", *segment_table);
      check_ids(check, "segments", *segments);
    }
    check.tensor("norm_weight", norm_weight, dtype, {token_table.size(1)});
    check.dropout(dropout_p, seed);
    return check;
  }

  template <typename Device>
  void check_ranges(const Checks& check) const {
    Device::check_ids(check, "tokens", tokens, token_table.size(0));
    Device::check_ids(check, "positions", positions, position_table.size(0));
    if (segments.has_value()) {
      Device::check_ids(check, "segments", *segments, segment_table->size(0));
    }
  }

  // Of out, or of its gradient.
  void check_out_dtype(const Checks& check, const char* name, ScalarType dtype) const {
    const ScalarType table = token_table.scalar_type();
    check.that(dtype == table || (dtype == ScalarType::BFloat16 && table == ScalarType::Float),
               name, " must be of the tables' dtype, or bfloat16 with float32 tables");
  }

  // Rows that have a mean and an rstd.
  int64_t statistics() const { return norm_weight.has_value() ? tokens.size(0) : 0; }

  template <typename stat_t>
  EmbeddingRows<stat_t> rows() const {
    return {
        .tokens = data<const int32_t>(tokens),
        .segments = data_or_null<const int32_t>(segments),
        .positions = data<const int32_t>(positions),
        .token_table = data<const stat_t>(token_table),
        .segment_table = data_or_null<const stat_t>(segment_table),
        .position_table = data<const stat_t>(position_table),
        .token_rows = token_table.size(0),
        .segment_rows = segments.has_value() ? segment_table->size(0) : 0,
        .position_rows = position_table.size(0),
        .count = tokens.size(0),
        .width = token_table.size(1),
        .weight = data_or_null<const stat_t>(norm_weight),
        .dropout = dropout_of(dropout_p > 0 ? data<const int64_t>(*seed) : nullptr, dropout_p),
    };
  }

 private:
  void check_table(const Checks& check, const char* name, const Tensor& table) const {
    check.tensor(name, table, token_table.scalar_type(), {Checks::kAny, Checks::kAny});
    check.that(table.size(1) == token_table.size(1), name, " must have ", token_table.size(1),
               " columns, got ", table.size(1));
    check.that(table.size(0) < INT32_MAX, name, " must have fewer than 2^31 - 1 rows");
  }
  void check_ids(const Checks& check, const char* name, const Tensor& ids) const {
    check.tensor(name, ids, ScalarType::Int, {Checks::kAny});
    check.that(ids.size(0) == tokens.size(0), name, " must have the length of tokens, ",
               tokens.size(0), ", got ", ids.size(0));
    check.that(ids.size(0) <= INT32_MAX, name, " must have fewer than 2^31 entries");
  }
};

// Gradients, to be written; empty where there is nothing that they are the gradient of.
struct EmbeddingGradients {
  Tensor tokens, segments, positions, weight, bias;
};

// (out, mean, rstd), the last two empty without a norm.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor> embedding_sum(
    const Tensor& tokens, const OptionalTensor& segments, const Tensor& positions,
    const Tensor& token_table, const OptionalTensor& segment_table, const Tensor& position_table,
    const OptionalTensor& norm_weight, const OptionalTensor& norm_bias, const OptionalTensor& seed,
    double eps, double dropout_p, ScalarType dtype) {
  const EmbeddingArguments arguments{
      "embedding_sum", tokens,         segments,    positions, token_table,
      segment_table,   position_table, norm_weight, seed,      dropout_p};
  const Checks check = arguments.check();
  const int64_t count = tokens.size(0), width = token_table.size(1);
  arguments.check_out_dtype(check, "dtype", dtype);
  check.that(norm_weight.has_value() == norm_bias.has_value(), "norm_weight goes with norm_bias");
  check.tensor("norm_bias", norm_bias, token_table.scalar_type(), {width});
  arguments.check_ranges<Device>(check);
  const Device device(token_table);
  const Tensor out = device.large(new_empty(token_table, {count, width}, dtype));
  const Tensor mean = new_empty(token_table, {arguments.statistics()});
  const Tensor rstd = new_empty(token_table, {arguments.statistics()});
  for_types<float, double, Bfloat16>(check.op, "dtype", dtype, [&]<typename out_t>() {
    using stat_t = Stat<out_t>;
    device.run(EmbeddingSumParams<out_t, stat_t>{
        .rows = arguments.rows<stat_t>(),
        .bias = data_or_null<const stat_t>(norm_bias),
        .eps = eps,
        .out = data<out_t>(out),
        .mean = data<stat_t>(mean),
        .rstd = data<stat_t>(rstd),
    });
  });
  return {out, mean, rstd};
}

// The gradient of out is that of the sum, z, without a norm and dropout. Else it comes first, with
// that of the norm's weight and bias; then every table's, which is the sum of the rows of dz by id.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> embedding_sum_backward(
    const Tensor& grad_out, const Tensor& tokens, const OptionalTensor& segments,
    const Tensor& positions, const Tensor& token_table, const OptionalTensor& segment_table,
    const Tensor& position_table, const OptionalTensor& norm_weight, const OptionalTensor& seed,
    const Tensor& mean, const Tensor& rstd, double dropout_p) {
  const EmbeddingArguments arguments{
      "embedding_sum_backward", tokens,      segments, positions, token_table, segment_table,
      position_table,           norm_weight, seed,     dropout_p};
  const Checks check = arguments.check();
  const int64_t count = tokens.size(0), width = token_table.size(1);
  const ScalarType dtype = grad_out.scalar_type();
  arguments.check_out_dtype(check, "grad_out", dtype);
  check.tensor("grad_out", grad_out, dtype, {count, width});
  check.tensor("mean", mean, token_table.scalar_type(), {arguments.statistics()});
  check.tensor("rstd", rstd, token_table.scalar_type(), {arguments.statistics()});
  arguments.check_ranges<Device>(check);
  const Device device(token_table);
  const bool norm = norm_weight.has_value();
  const EmbeddingGradients grads{
      .tokens = device.large(new_empty(token_table, {token_table.size(0), width})),
      .segments =
          new_empty(token_table, {segments.has_value() ? segment_table->size(0) : 0, width}),
      .positions = new_empty(token_table, {position_table.size(0), width}),
      .weight = new_empty(token_table, {norm ? width : 0}),
      .bias = new_empty(token_table, {norm ? width : 0}),
  };
  const auto tables = [&]<typename from_t, typename stat_t>(const from_t* from) {
    device.template table_gradient<from_t, stat_t>(from, tokens, grads.tokens, true);
    if (segments.has_value()) {
      device.template table_gradient<from_t, stat_t>(from, *segments, grads.segments, false);
    }
    device.template table_gradient<from_t, stat_t>(from, positions, grads.positions, false);
  };
  for_types<float, double, Bfloat16>(check.op, "grad_out", dtype, [&]<typename out_t>() {
    using stat_t = Stat<out_t>;
    if (!norm && dropout_p == 0) {
      return tables.template operator()<out_t, stat_t>(data<const out_t>(grad_out));
    }
    const int64_t group = Device::rows_per_group(count);
    const Tensor sum = device.large(new_empty(token_table, {count, width}));
    const Tensor partial =
        new_empty(token_table, {norm ? (count + group - 1) / group : 0, 2, width});
    device.run(
        EmbeddingSumBackwardParams<out_t, stat_t>{
            .rows = arguments.rows<stat_t>(),
            .grad_out = data<const out_t>(grad_out),
            .mean = data<const stat_t>(mean),
            .rstd = data<const stat_t>(rstd),
            .grad_sum = data<stat_t>(sum),
            .group = group,
            .partial = data<stat_t>(partial),
        },
        norm ? &grads : nullptr);
    tables.template operator()<stat_t, stat_t>(data<const stat_t>(sum));
  });
  return {grads.tokens, grads.segments, grads.positions, grads.weight, grads.bias};
}

}  // namespace lexforge
