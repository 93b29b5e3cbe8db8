// The body of embedding_bag.h's ops on any device.
#pragma once

#include <string>
#include <tuple>

#include "common/binding.h"
#include "embedding/embedding_bag.h"

namespace lexforge {

inline BagMode parse_bag_mode(const Checks& check, const std::string& name) {
  if (name == "lookup") return BagMode::kLookup;
  if (name == "sum") return BagMode::kSum;
  if (name == "mean") return BagMode::kMean;
  check.that(name == "max", "mode must be lookup, sum, mean or max, got ", name);
  return BagMode::kMax;
}

// The ids of a call, and what is looked up for them.
struct BagArguments {
  const Tensor& ids;
  const OptionalTensor& offsets;
  int64_t padding, rows;

  int64_t count() const { return offsets.has_value() ? offsets->size(0) - 1 : ids.size(0); }

  template <typename Device>
  void check(const Checks& check) const {
    check.that(0 <= rows && rows < INT32_MAX, "the table must have fewer than 2^31 - 1 rows");
    check.that(-1 <= padding && padding < rows, "padding_idx must be -1 or a row, got ", padding);
    if (offsets.has_value()) {
      check.tensor("ids", ids, ScalarType::Int, {Checks::kAny});
      check.tensor("offsets", *offsets, ScalarType::Long, {Checks::kAny});
      check.that(offsets->size(0) >= 1, "offsets must be [B + 1], got none");
      if constexpr (Device::kReadable) check_offsets(check);
    } else {
      check.tensor("ids", ids, ScalarType::Int, {Checks::kAny, Checks::kAny});
    }
    check.that(ids.numel() <= INT32_MAX, "ids must be fewer than 2^31");
    check.that(count() <= INT32_MAX, "bags must be fewer than 2^31");
    Device::check_ids(check, "ids", ids, rows);
  }

  // Without offsets every bag must have one id in a lookup.
  void check_lookup(const Checks& check, BagMode mode) const {
    if (mode != BagMode::kLookup) return;
    check.that(!offsets.has_value() && ids.size(1) == 1, "ids of a lookup must be [B, 1]");
  }

  Bags bags() const {
    return {
        .ids = data<const int32_t>(ids),
        .offsets = data_or_null<const int64_t>(offsets),
        .length = offsets.has_value() ? 0 : ids.size(1),
        .count = count(),
        .ids_count = ids.numel(),
        .padding = static_cast<int32_t>(padding),
    };
  }

 private:
  void check_offsets(const Checks& check) const {
    const auto* offset = data<const int64_t>(*offsets);
    int64_t before = 0;
    check.that(offset[0] == 0, "offsets must begin with 0, got ", offset[0]);
    for (int64_t b = 1; b <= count(); ++b) {
      check.that(before <= offset[b] && offset[b] <= ids.size(0),
                 "offsets must ascend and be at most ", ids.size(0), ", got ", offset[b], " after ",
                 before);
      before = offset[b];
    }
  }
};

// (out, choice, scale).
template <typename Device>
std::tuple<Tensor, Tensor, Tensor> embedding_bag(const Tensor& table, const Tensor& ids,
                                                 const OptionalTensor& offsets,
                                                 const OptionalTensor& weights,
                                                 const std::string& mode_name, int64_t padding,
                                                 bool /*scale_grad_by_freq*/, bool /*sparse*/) {
  const Checks check("embedding_bag", "table", table);
  check.tensor("table", table, table.scalar_type(), {Checks::kAny, Checks::kAny});
  const BagArguments arguments{ids, offsets, padding, table.size(0)};
  arguments.check<Device>(check);
  const BagMode mode = parse_bag_mode(check, mode_name);
  arguments.check_lookup(check, mode);
  check.that(!weights.has_value() || mode == BagMode::kSum, "per_sample_weights go with mode sum");
  check.tensor("per_sample_weights", weights, stat_type(table), {ids.numel()});
  const int64_t bags = arguments.count(), dim = table.size(1);
  const Device device(table);
  const Tensor out = device.large(new_empty(table, {bags, dim}));
  const int64_t chosen = mode == BagMode::kMax ? bags : 0;
  const Tensor choice = new_empty(table, {chosen, dim}, ScalarType::Int);
  const Tensor scale = new_empty(table, {mode == BagMode::kMean ? bags : 0}, stat_type(table));
  for_types<float, Bfloat16, double>(check.op, "table", table.scalar_type(),
                                     [&]<typename scalar_t>() {
                                       using stat_t = Stat<scalar_t>;
                                       device.run(EmbeddingBagParams<scalar_t, stat_t>{
                                           .table = data<const scalar_t>(table),
                                           .rows = table.size(0),
                                           .dim = dim,
                                           .bags = arguments.bags(),
                                           .mode = mode,
                                           .weights = data_or_null<const stat_t>(weights),
                                           .out = data<scalar_t>(out),
                                           .choice = data<int32_t>(choice),
                                           .scale = data<stat_t>(scale),
                                       });
                                     });
  return {out, choice, scale};
}

// The table's gradient [rows, D].
template <typename Device>
Tensor embedding_bag_backward(const Tensor& grad_out, const Tensor& ids,
                              const OptionalTensor& offsets, const OptionalTensor& weights,
                              const Tensor& choice, const Tensor& scale,
                              const std::string& mode_name, int64_t padding, bool by_frequency,
                              int64_t rows) {
  const Checks check("embedding_bag_backward", "grad_out", grad_out);
  const BagArguments arguments{ids, offsets, padding, rows};
  arguments.check<Device>(check);
  const BagMode mode = parse_bag_mode(check, mode_name);
  arguments.check_lookup(check, mode);
  const int64_t bags = arguments.count();
  check.tensor("grad_out", grad_out, grad_out.scalar_type(), {bags, Checks::kAny});
  const int64_t dim = grad_out.size(1);
  check.that(!weights.has_value() || mode == BagMode::kSum, "per_sample_weights go with mode sum");
  check.tensor("per_sample_weights", weights, stat_type(grad_out), {ids.numel()});
  const bool max = mode == BagMode::kMax, mean = mode == BagMode::kMean;
  check.that(!(max && by_frequency), "by frequency goes with lookup, sum and mean");
  check.tensor("choice", choice, ScalarType::Int, {max ? bags : 0, dim});
  check.tensor("scale", scale, stat_type(grad_out), {mean ? bags : 0});
  const Device device(grad_out);
  const Tensor grad = device.zeros(grad_out, {rows, dim});
  if (ids.numel() == 0 || bags == 0 || dim == 0) return grad;
  for_types<float, Bfloat16, double>(
      check.op, "grad_out", grad_out.scalar_type(), [&]<typename scalar_t>() {
        using stat_t = Stat<scalar_t>;
        const BagGradient<scalar_t, stat_t> gradient{
            .from = data<const scalar_t>(grad_out),
            .bag = nullptr,
            .weights = data_or_null<const stat_t>(weights),
            .scale = mean ? data<const stat_t>(scale) : nullptr,
            .choice = max ? data<const int32_t>(choice) : nullptr,
            .dim = dim,
        };
        device.sum_by_row(gradient, arguments.bags(), mode, by_frequency, ids, grad);
      });
  return grad;
}

// The gradient of per_sample_weights [N].
template <typename Device>
Tensor embedding_bag_weights_backward(const Tensor& grad_out, const Tensor& table,
                                      const Tensor& ids, const OptionalTensor& offsets,
                                      int64_t padding) {
  const Checks check("embedding_bag_weights_backward", "table", table);
  check.tensor("table", table, table.scalar_type(), {Checks::kAny, Checks::kAny});
  const BagArguments arguments{ids, offsets, padding, table.size(0)};
  arguments.check<Device>(check);
  check.tensor("grad_out", grad_out, table.scalar_type(), {arguments.count(), table.size(1)});
  const Device device(table);
  const Tensor grad = new_zeros(table, {ids.numel()}, stat_type(table));
  for_types<float, Bfloat16, double>(check.op, "table", table.scalar_type(),
                                     [&]<typename scalar_t>() {
                                       using stat_t = Stat<scalar_t>;
                                       device.run(EmbeddingBagWeightsParams<scalar_t, stat_t>{
                                           .grad_out = data<const scalar_t>(grad_out),
                                           .table = data<const scalar_t>(table),
                                           .rows = table.size(0),
                                           .dim = table.size(1),
                                           .bags = arguments.bags(),
                                           .grad = data<stat_t>(grad),
                                       });
                                     });
  return grad;
}

template <typename Device>
void embedding_renorm_(const Tensor& table, const Tensor& ids, double max_norm, double norm_type) {
  const Checks check("embedding_renorm_", "table", table);
  check.tensor("table", table, table.scalar_type(), {Checks::kAny, Checks::kAny});
  check.tensor("ids", ids, ScalarType::Int, {Checks::kAny});
  check.that(table.size(0) < INT32_MAX, "table must have fewer than 2^31 - 1 rows");
  check.that(ids.size(0) <= INT32_MAX, "ids must be fewer than 2^31");
  check.that(max_norm > 0 && norm_type > 0, "max_norm and norm_type must be above 0, got ",
             max_norm, " and ", norm_type);
  check.apart({{"table", table}}, {{"ids", ids}});
  Device::check_ids(check, "ids", ids, table.size(0));
  const Device device(table);
  if (ids.size(0) == 0) return;
  for_types<float, Bfloat16, double>(
      check.op, "table", table.scalar_type(), [&]<typename scalar_t>() {
        device.run(EmbeddingRenormParams<scalar_t>{data<scalar_t>(table), table.size(1), max_norm,
                                                   norm_type},
                   ids, table.size(0));
      });
}

}  // namespace lexforge
