// The body of skipgram_step.h's ops on any device, and what training on minibatches shares with it.
#pragma once

#include <string>

#include "common/binding.h"
#include "word2vec/skipgram_step.h"
#include "word2vec/skipgram_step_adam.h"

namespace lexforge {

inline SkipgramOptimizer parse_optimizer(const Checks& check, const std::string& name) {
  if (name == "sgd") return SkipgramOptimizer::kSgd;
  if (name == "adagrad") return SkipgramOptimizer::kAdagrad;
  if (name == "adam") return SkipgramOptimizer::kAdam;
  check.that(name == "lazy_adam", "optimizer must be sgd, adagrad, adam or lazy_adam, got ", name);
  return SkipgramOptimizer::kLazyAdam;
}

inline bool is_adam(SkipgramOptimizer optimizer) {
  return optimizer == SkipgramOptimizer::kAdam || optimizer == SkipgramOptimizer::kLazyAdam;
}

// Tables and state, as the schema's STATE, and the optimiser's settings.
struct SkipgramStepState {
  const Tensor& in_table;
  const Tensor& out_table;
  const Tensor& in_moments;
  const Tensor& out_moments;
  const Tensor& in_last;
  const Tensor& out_last;
  const Tensor& history;  // read and written by the host, whatever device the tables are on
  AdamSettings settings;
  int64_t step;

  double* past() const { return data<double>(history); }

  // All but the minibatch and the scratch arrays.
  SkipgramStepParams params(const Checks& check) const {
    SkipgramStepParams params{};
    params.optimizer = settings.optimizer;
    params.in = table(check, in_table, in_moments, in_last);
    params.out = table(check, out_table, out_moments, out_last);
    params.stride = in_table.size(1);
    check.that(out_table.size(1) == params.stride, "tables must have one row length, got ",
               params.stride, " and ", out_table.size(1));
    check.that(step >= 1 && step < INT32_MAX, "step must be in [1, 2^31 - 2], got ", step);
    check.that(history.is_cpu(), "history must be on the CPU");
    Checks(check.op, "history", history)
        .tensor("history", history, ScalarType::Double, {kMaxPending, 2});
    check.apart({{"in_table", in_table},
                 {"out_table", out_table},
                 {"in_moments", in_moments},
                 {"out_moments", out_moments},
                 {"in_last", in_last},
                 {"out_last", out_last},
                 {"history", history}});
    params.step = step;
    params.lr = static_cast<float>(settings.lr);
    params.epsilon = static_cast<float>(settings.epsilon);
    return params;
  }
  // The workspace, where row numbers are kept, and results, apart from what training changes.
  void check_apart(const Checks& check, const Tensor& workspace, const char* name,
                   const Tensor& result, std::initializer_list<Checks::Named> read) const {
    check.apart({{"in_table", in_table},
                 {"out_table", out_table},
                 {"in_moments", in_moments},
                 {"out_moments", out_moments},
                 {"in_last", in_last},
                 {"out_last", out_last},
                 {"history", history},
                 {"workspace", workspace},
                 {name, result}},
                read);
  }

 private:
  SkipgramTable table(const Checks& check, const Tensor& table, const Tensor& moments,
                      const Tensor& last) const {
    check.tensor("table", table, ScalarType::Float, {Checks::kAny, Checks::kAny});
    const int64_t rows = table.size(0), stride = table.size(1);
    check.that(stride > 0 && stride % 16 == 0, "tables must have rows of a multiple of 16, got ",
               stride);
    check.that(rows <= INT32_MAX, "too many rows");
    const SkipgramOptimizer optimizer = settings.optimizer;
    const int64_t state_rows = is_adam(optimizer)                         ? 2
                               : optimizer == SkipgramOptimizer::kAdagrad ? 1
                                                                          : 0;
    check.device("moments", moments);
    check.device("last", last);
    check.that(moments.scalar_type() == ScalarType::Float && moments.is_contiguous() &&
                   moments.numel() == state_rows * rows * stride,
               "moments must be float32 of ", state_rows, " rows for each row");
    check.that(last.scalar_type() == ScalarType::Int && last.is_contiguous() &&
                   last.numel() == (optimizer == SkipgramOptimizer::kAdam ? rows : 0),
               "last must be int32 [V] for adam and empty otherwise");
    check.aligned("tables", table, 64);
    check.aligned("moments", moments, 64);
    return {data<float>(table), data<float>(moments), data<int32_t>(last), rows};
  }
};

// A padded minibatch.
struct SkipgramStepBatch {
  const Tensor& center;
  const Tensor& target;
  const Tensor& mask;
  const Tensor& label;
  const Tensor& loss;
};

template <typename Device>
void skipgram_step(Tensor& in_table, Tensor& out_table, Tensor& in_moments, Tensor& out_moments,
                   Tensor& in_last, Tensor& out_last, Tensor& history, Tensor& workspace,
                   Tensor& loss, const Tensor& center, const Tensor& target, const Tensor& mask,
                   const Tensor& label, std::string optimizer, int64_t step, double lr,
                   double beta1, double beta2, double eps) {
  const Checks check("skipgram_step_", "in_table", in_table);
  const SkipgramStepState state{
      in_table, out_table, in_moments, out_moments,
      in_last,  out_last,  history,    {parse_optimizer(check, optimizer), lr, beta1, beta2, eps},
      step};
  SkipgramStepParams params = state.params(check);
  check.tensor("center", center, ScalarType::Int, {Checks::kAny});
  check.tensor("contexts_and_negatives", target, ScalarType::Int, {center.size(0), Checks::kAny});
  check.tensor("mask", mask, ScalarType::Float, {center.size(0), target.size(1)});
  check.tensor("label", label, ScalarType::Float, {center.size(0), target.size(1)});
  check.tensor("loss", loss, ScalarType::Float, {center.size(0)});
  check.that(target.numel() <= INT32_MAX, "too many targets in one batch");
  state.check_apart(
      check, workspace, "loss", loss,
      {{"center", center}, {"contexts_and_negatives", target}, {"mask", mask}, {"label", label}});
  const Device device(in_table);
  device.run(check, params, state, {center, target, mask, label, loss}, workspace);
}

template <typename Device>
void skipgram_sync(Tensor& in_table, Tensor& out_table, Tensor& in_moments, Tensor& out_moments,
                   Tensor& in_last, Tensor& out_last, Tensor& history, std::string optimizer,
                   int64_t step, double lr, double beta1, double beta2, double eps) {
  const Checks check("skipgram_sync_", "in_table", in_table);
  const SkipgramStepState state{
      in_table, out_table, in_moments, out_moments,
      in_last,  out_last,  history,    {parse_optimizer(check, optimizer), lr, beta1, beta2, eps},
      step};
  const SkipgramStepParams params = state.params(check);
  if (state.settings.optimizer != SkipgramOptimizer::kAdam) return;
  const Device device(in_table);
  device.sync(params, state);
}

}  // namespace lexforge
