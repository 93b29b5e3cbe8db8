// The body of glove_train_ on any device.
#pragma once

#include <string>

#include "common/binding.h"
#include "glove/glove_train.h"

namespace lexforge {

inline GloveOptimizer parse_glove_optimizer(const std::string& name) {
  if (name == "adagrad") return GloveOptimizer::kAdaGrad;
  if (name == "rowwise") return GloveOptimizer::kRowwiseAdaGrad;
  if (name != "adam") {
    fail("glove_train_: optimizer must be adagrad, rowwise or adam, got ", name);
  }
  return GloveOptimizer::kAdam;
}

template <typename Device>
void glove_train(Tensor& word_table, Tensor& context_table, Tensor& stats, int64_t parts,
                 const Tensor& tile_begin, const Tensor& segment_row, const Tensor& segment_begin,
                 const Tensor& column, const Tensor& log_count, int64_t first_round,
                 int64_t last_round, int64_t dim, std::string optimizer, double learning_rate,
                 double bias_rate, double x_max, double alpha, double clip, double beta1,
                 double beta2, double epsilon, bool deterministic, int64_t threads) {
  constexpr int64_t kAny = Checks::kAny;
  const Checks check("glove_train_", "word_table", word_table);
  const GloveOptimizer method = parse_glove_optimizer(optimizer);
  check.tensor("word_table", word_table, word_table.scalar_type(),
               {kAny, glove_record_parts(method), kAny});
  check.like("word_table", word_table, "context_table", context_table);
  const int64_t vocab_size = word_table.size(0), stride = word_table.size(2);
  check.tensor("stats", stats, ScalarType::Double, {2});
  check.that(parts >= 1 && parts <= INT32_MAX, "parts must be in [1, 2^31), got ", parts);
  check.tensor("tile_begin", tile_begin, ScalarType::Long, {parts * parts + 1});
  check.tensor("segment_row", segment_row, ScalarType::Int, {kAny});
  check.tensor("segment_begin", segment_begin, ScalarType::Long, {segment_row.size(0) + 1});
  check.tensor("column", column, ScalarType::Int, {kAny});
  check.tensor("log_count", log_count, ScalarType::Float, {column.size(0)});
  check.that(vocab_size <= INT32_MAX, "word_table must have fewer than 2^31 rows");
  check.that(dim >= 1 && stride % 16 == 0 && dim <= stride - 2,
             "stride must be a multiple of 16 and at least dim + 2, got ", stride, " for dim ",
             dim);
  check.aligned("word_table", word_table, 64);
  check.aligned("context_table", context_table, 64);
  check.apart({{"word_table", word_table}, {"context_table", context_table}, {"stats", stats}},
              {{"tile_begin", tile_begin},
               {"segment_row", segment_row},
               {"segment_begin", segment_begin},
               {"column", column},
               {"log_count", log_count}});
  check.threads(threads);
  check.range("first_round and last_round", first_round, last_round, parts);
  check.that(method != GloveOptimizer::kAdam || bias_rate == 1,
             "bias_rate must be 1 with adam, got ", bias_rate);
  if (first_round == last_round) return;
  const Device device(word_table);
  const ScalarType dtype = word_table.scalar_type();
  for_types<float, double>(check.op, "word_table", dtype, [&]<typename scalar_t>() {
    const GloveTrainParams<scalar_t> params{
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
    device.run(params, stats, first_round, last_round, deterministic, threads);
  });
}

}  // namespace lexforge
