// What the bindings of the skip-gram step share: checks, and tensors to params.
#pragma once

#include <string>

#include "common/check.h"
#include "word2vec/skipgram_step.h"
#include "word2vec/skipgram_step_adam.h"

namespace lexforge {

inline SkipgramOptimizer parse_optimizer(const char* op, const std::string& name) {
  if (name == "sgd") return SkipgramOptimizer::kSgd;
  if (name == "adagrad") return SkipgramOptimizer::kAdagrad;
  if (name == "adam") return SkipgramOptimizer::kAdam;
  STD_TORCH_CHECK(name == "lazy_adam", op, ": optimizer must be sgd, adagrad, adam or lazy_adam, ",
                  "got ", name);
  return SkipgramOptimizer::kLazyAdam;
}

inline SkipgramTable step_table(const char* op, const Tensor& table, const Tensor& moments,
                                const Tensor& last, SkipgramOptimizer optimizer) {
  check_contiguous(table, ScalarType::Float, 2, op, "table");
  const int64_t rows = table.size(0), stride = table.size(1);
  STD_TORCH_CHECK(stride > 0 && stride % 16 == 0, op,
                  ": tables must have rows of a multiple of 16, got ", stride);
  STD_TORCH_CHECK(rows <= INT32_MAX, op, ": too many rows");
  const bool adam =
      optimizer == SkipgramOptimizer::kAdam || optimizer == SkipgramOptimizer::kLazyAdam;
  const int64_t state_rows = adam ? 2 : optimizer == SkipgramOptimizer::kAdagrad ? 1 : 0;
  STD_TORCH_CHECK(moments.scalar_type() == ScalarType::Float && moments.is_contiguous() &&
                      moments.numel() == state_rows * rows * stride,
                  op, ": moments must be float32 of ", state_rows, " rows for each row");
  STD_TORCH_CHECK(last.scalar_type() == ScalarType::Int && last.is_contiguous() &&
                      last.numel() == (optimizer == SkipgramOptimizer::kAdam ? rows : 0),
                  op, ": last must be int32 [V] for adam and empty otherwise");
  check_devices(op, {{"table", table}, {"moments", moments}, {"last", last}});
  for (const Tensor* tensor : {&table, &moments}) {
    STD_TORCH_CHECK(
        tensor->numel() == 0 || reinterpret_cast<uintptr_t>(tensor->data_ptr()) % 64 == 0, op,
        ": tables and moments must start at 64-byte boundaries");
  }
  return {data<float>(table), data<float>(moments), data<int32_t>(last), rows};
}

// Read and written by the host, whatever device the tables are on.
inline double* step_history(const char* op, const Tensor& history) {
  check_contiguous(history, ScalarType::Double, 2, op, "history");
  STD_TORCH_CHECK(history.size(0) == kMaxPending && history.size(1) == 2, op, ": history must be [",
                  kMaxPending, ", 2]");
  STD_TORCH_CHECK(history.is_cpu(), op, ": history must be on the CPU");
  return data<double>(history);
}

inline SkipgramStepParams step_params(const char* op, const Tensor& in_table,
                                      const Tensor& out_table, const Tensor& in_moments,
                                      const Tensor& out_moments, const Tensor& in_last,
                                      const Tensor& out_last, const AdamSettings& settings,
                                      int64_t step) {
  SkipgramStepParams params{};
  params.optimizer = settings.optimizer;
  params.in = step_table(op, in_table, in_moments, in_last, settings.optimizer);
  params.out = step_table(op, out_table, out_moments, out_last, settings.optimizer);
  params.stride = in_table.size(1);
  STD_TORCH_CHECK(out_table.size(1) == params.stride, op, ": tables must have one row length");
  check_devices(op, {{"in_table", in_table}, {"out_table", out_table}});
  STD_TORCH_CHECK(step >= 1 && step < INT32_MAX, op, ": step must be in [1, 2^31 - 2], got ", step);
  params.step = step;
  params.lr = static_cast<float>(settings.lr);
  params.epsilon = static_cast<float>(settings.epsilon);
  return params;
}

inline bool is_adam(SkipgramOptimizer optimizer) {
  return optimizer == SkipgramOptimizer::kAdam || optimizer == SkipgramOptimizer::kLazyAdam;
}

inline void check_step_batch(const char* op, const Tensor& in_table, const Tensor& center,
                             const Tensor& target, const Tensor& mask, const Tensor& label,
                             const Tensor& loss) {
  check_contiguous(center, ScalarType::Int, 1, op, "center");
  check_contiguous(target, ScalarType::Int, 2, op, "contexts_and_negatives");
  check_contiguous(mask, ScalarType::Float, 2, op, "mask");
  check_contiguous(label, ScalarType::Float, 2, op, "label");
  check_contiguous(loss, ScalarType::Float, 1, op, "loss");
  check_devices(op, {{"in_table", in_table},
                     {"center", center},
                     {"contexts_and_negatives", target},
                     {"mask", mask},
                     {"label", label},
                     {"loss", loss}});
  const int64_t batch = center.size(0);
  for (const Tensor* slots : {&target, &mask, &label}) {
    STD_TORCH_CHECK(slots->size(0) == batch && slots->size(1) == target.size(1), op,
                    ": contexts_and_negatives, mask and label must be [", batch, ", L]");
  }
  STD_TORCH_CHECK(loss.size(0) == batch, op, ": loss must be [", batch, "]");
  STD_TORCH_CHECK(target.numel() <= INT32_MAX, op, ": too many targets in one batch");
}

}  // namespace lexforge
