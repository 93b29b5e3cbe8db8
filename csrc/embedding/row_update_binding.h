// The body of row_update.h's op on any device.
#pragma once

#include <string>

#include "common/binding.h"
#include "embedding/row_update.h"

namespace lexforge {

inline RowRule parse_rule(const Checks& check, const std::string& name) {
  if (name == "sgd") return RowRule::kSgd;
  if (name == "momentum") return RowRule::kMomentum;
  if (name == "nesterov") return RowRule::kNesterov;
  if (name == "adagrad") return RowRule::kAdagrad;
  if (name == "rowwise_adagrad") return RowRule::kRowwiseAdagrad;
  check.that(name == "adam",
             "rule must be sgd, momentum, nesterov, adagrad, rowwise_adagrad or adam, got ", name);
  return RowRule::kAdam;
}

template <typename Device>
void row_update(Tensor& weight, const OptionalTensor& first, const OptionalTensor& second,
                const OptionalTensor& touched, const Tensor& ids, const Tensor& gradients,
                std::string rule_name, double lr, double weight_decay, double decay1, double fresh1,
                double decay2, double fresh2, double epsilon) {
  const Checks check("row_update_", "weight", weight);
  const RowRule rule = parse_rule(check, rule_name);
  const ScalarType dtype = weight.scalar_type(), stat = stat_type(weight);
  check.tensor("weight", weight, dtype, {Checks::kAny, Checks::kAny});
  const int64_t rows = weight.size(0), dim = weight.size(1);
  check.that(rows < INT32_MAX, "weight must have fewer than 2^31 - 1 rows");
  check.tensor("ids", ids, ScalarType::Int, {Checks::kAny});
  check.that(ids.size(0) <= INT32_MAX, "ids must have fewer than 2^31 entries");
  check.tensor("gradients", gradients, dtype, {ids.size(0), dim});
  check.that(first.has_value() == (rule != RowRule::kSgd), "first goes with every rule but sgd");
  check.that(second.has_value() == (rule == RowRule::kAdam), "second goes with adam");
  if (rule == RowRule::kRowwiseAdagrad) {
    check.tensor("first", first, stat, {rows});
  } else {
    check.tensor("first", first, stat, {rows, dim});
  }
  check.tensor("second", second, stat, {rows, dim});
  check.tensor("touched", touched, ScalarType::Byte, {rows});
  const Tensor none = new_empty(weight, {0});
  const Tensor one = first.value_or(none), two = second.value_or(none);
  const Tensor flags = touched.value_or(none);
  check.apart({{"weight", weight}, {"first", one}, {"second", two}, {"touched", flags}},
              {{"ids", ids}, {"gradients", gradients}});
  Device::check_ids(check, "ids", ids, rows);
  if (weight.numel() == 0) return;
  const Device device(weight);
  for_types<float, double, Bfloat16>(check.op, "weight", dtype, [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    device.run(
        RowUpdateParams<scalar_t, stat_t>{
            .weight = data<scalar_t>(weight),
            .first = data_or_null<stat_t>(first),
            .second = data_or_null<stat_t>(second),
            .touched = data_or_null<uint8_t>(touched),
            .rows = rows,
            .dim = dim,
            .gradients = data<const scalar_t>(gradients),
            .rule = rule,
            .lr = lr,
            .weight_decay = weight_decay,
            .decay1 = decay1,
            .fresh1 = fresh1,
            .decay2 = decay2,
            .fresh2 = fresh2,
            .epsilon = epsilon,
        },
        weight, ids);
  });
}

}  // namespace lexforge
