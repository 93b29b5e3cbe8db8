// What the CPU and the CUDA binding of glove_train_ share: checks, and tensors to params.
#pragma once

#include <string>
#include <utility>

#include "common/check.h"
#include "glove/glove_train.h"

namespace lexforge {

inline GloveOptimizer parse_glove_optimizer(const std::string& name) {
  if (name == "adagrad") return GloveOptimizer::kAdaGrad;
  if (name == "rowwise") return GloveOptimizer::kRowwiseAdaGrad;
  STD_TORCH_CHECK(name == "adam", "glove_train_: optimizer must be adagrad, rowwise or adam, got ",
                  name);
  return GloveOptimizer::kAdam;
}

template <typename scalar_t>
GloveTrainParams<scalar_t> glove_train_params(
    const Tensor& word_table, const Tensor& context_table, const Tensor& stats, int64_t parts,
    const Tensor& tile_begin, const Tensor& segment_row, const Tensor& segment_begin,
    const Tensor& column, const Tensor& log_count, int64_t first_round, int64_t last_round,
    int64_t dim, const std::string& optimizer, double learning_rate, double bias_rate, double x_max,
    double alpha, double clip, double beta1, double beta2, double epsilon) {
  constexpr const char* op = "glove_train_";
  const GloveOptimizer method = parse_glove_optimizer(optimizer);
  const ScalarType dtype = word_table.scalar_type();
  check_contiguous(word_table, dtype, 3, op, "word_table");
  check_contiguous(context_table, dtype, 3, op, "context_table");
  check_contiguous(stats, ScalarType::Double, 1, op, "stats");
  check_contiguous(tile_begin, ScalarType::Long, 1, op, "tile_begin");
  check_contiguous(segment_row, ScalarType::Int, 1, op, "segment_row");
  check_contiguous(segment_begin, ScalarType::Long, 1, op, "segment_begin");
  check_contiguous(column, ScalarType::Int, 1, op, "column");
  check_contiguous(log_count, ScalarType::Float, 1, op, "log_count");
  check_devices(op, {{"word_table", word_table},
                     {"context_table", context_table},
                     {"stats", stats},
                     {"tile_begin", tile_begin},
                     {"segment_row", segment_row},
                     {"segment_begin", segment_begin},
                     {"column", column},
                     {"log_count", log_count}});
  const int64_t vocab_size = word_table.size(0), stride = word_table.size(2);
  STD_TORCH_CHECK(vocab_size <= INT32_MAX, op, ": word_table must have fewer than 2^31 rows");
  STD_TORCH_CHECK(word_table.size(1) == glove_record_parts(method), op, ": word_table must be [V, ",
                  glove_record_parts(method), ", stride] for ", optimizer, ", got ",
                  word_table.size(1), " parts");
  STD_TORCH_CHECK(dim >= 1 && stride % 16 == 0 && dim + 2 <= stride, op,
                  ": stride must be a multiple of 16 and at least dim + 2, got ", stride,
                  " for dim ", dim);
  for (int64_t i = 0; i < 3; ++i) {
    STD_TORCH_CHECK(context_table.size(i) == word_table.size(i), op,
                    ": context_table must have the shape of word_table");
  }
  for (const auto& [table, name] :
       {std::pair{&word_table, "word_table"}, {&context_table, "context_table"}}) {
    STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(table->data_ptr()) % 64 == 0, op, ": ", name,
                    " must start at a 64-byte boundary");
  }
  STD_TORCH_CHECK(stats.size(0) == 2, op, ": stats must be [2], got ", stats.size(0));
  STD_TORCH_CHECK(parts >= 1 && parts <= INT32_MAX && tile_begin.size(0) == parts * parts + 1, op,
                  ": tile_begin must be [parts^2 + 1], got [", tile_begin.size(0), "] for ", parts,
                  " parts");
  STD_TORCH_CHECK(segment_begin.size(0) == segment_row.size(0) + 1, op, ": segment_begin must be [",
                  segment_row.size(0) + 1, "], got [", segment_begin.size(0), "]");
  STD_TORCH_CHECK(log_count.size(0) == column.size(0), op, ": log_count must be [", column.size(0),
                  "], got [", log_count.size(0), "]");
  STD_TORCH_CHECK(0 <= first_round && first_round <= last_round && last_round <= parts, op,
                  ": first_round and last_round must be a range within [0, ", parts, "], got [",
                  first_round, ", ", last_round, ")");
  STD_TORCH_CHECK(method != GloveOptimizer::kAdam || bias_rate == 1, op,
                  ": bias_rate must be 1 with adam, got ", bias_rate);
  return {
      .word_table = data<scalar_t>(word_table),
      .context_table = data<scalar_t>(context_table),
      .vocab_size = vocab_size,
      .dim = dim,
      .stride = stride,
      .tiles =
          {
              .parts = parts,
              .segments = segment_row.size(0),
              .entries = column.size(0),
              .tile_begin = data<const int64_t>(tile_begin),
              .segment_row = data<const int32_t>(segment_row),
              .segment_begin = data<const int64_t>(segment_begin),
              .column = data<const int32_t>(column),
              .log_count = data<const float>(log_count),
          },
      .optimizer = method,
      .learning_rate = learning_rate,
      .x_max = x_max,
      .alpha = alpha,
      .clip = clip,
      .bias_rate = bias_rate,
      .beta1 = beta1,
      .beta2 = beta2,
      .epsilon = epsilon,
  };
}

}  // namespace lexforge
