// The body of classify_train_ on any device.
#pragma once

#include "common/binding.h"
#include "sampling/sampling_binding.h"
#include "subword/classify_train.h"

namespace lexforge {

// Sizes of what the parameters point to, and arrays whose content has to be looked at.
struct ClassifyTrainBounds {
  int64_t rows;  // of in_table
  int64_t tokens, label_ids, types;
  const Tensor &bag_rows, &bucket_rows;
  int64_t paths;
};

// bucket_rows, noise and paths are empty where they do not belong to the call.
template <typename Device>
void classify_train(Tensor& in_table, Tensor& out_table, Tensor& stats, const Tensor& tokens,
                    const Tensor& offsets, const Tensor& label_ids, const Tensor& label_offsets,
                    const Tensor& bag_offsets, const Tensor& bag_rows, const Tensor& hashes,
                    const Tensor& bucket_rows, const Tensor& noise, const Tensor& path_offsets,
                    const Tensor& paths, int64_t first_line, int64_t last_line, int64_t words,
                    int64_t buckets, int64_t word_ngrams, int64_t loss, int64_t negatives,
                    double alpha, double min_alpha, int64_t tokens_before, int64_t total_tokens,
                    int64_t seed, int64_t epoch, int64_t threads) {
  constexpr int64_t kAny = Checks::kAny;
  const Checks check("classify_train_", "in_table", in_table);
  check.tensor("in_table", in_table, in_table.scalar_type(), {kAny, kAny});
  const int64_t rows = in_table.size(0), stride = in_table.size(1);
  check.that(stride > 0 && stride % 16 == 0, "in_table must have rows of a multiple of 16, got ",
             stride);
  check.that(rows <= INT32_MAX, "in_table must have fewer than 2^31 rows, got ", rows);
  check.tensor("out_table", out_table, in_table.scalar_type(), {kAny, stride});
  const int64_t labels = out_table.size(0);
  check.that(labels >= 1 && labels <= INT32_MAX, "out_table must have 1 to 2^31 - 1 rows, got ",
             labels);
  check.tensor("stats", stats, ScalarType::Double, {2});
  check.tensor("tokens", tokens, ScalarType::Int, {kAny});
  check.tensor("offsets", offsets, ScalarType::Long, {kAny});
  check.that(offsets.size(0) >= 1, "offsets must be [S + 1], got [0]");
  check.tensor("label_ids", label_ids, ScalarType::Int, {kAny});
  check.tensor("label_offsets", label_offsets, ScalarType::Long, {offsets.size(0)});
  check.tensor("hashes", hashes, ScalarType::Int, {kAny});
  check.tensor("bag_offsets", bag_offsets, ScalarType::Long, {hashes.size(0) + 1});
  check.tensor("bag_rows", bag_rows, ScalarType::Int, {kAny});
  check.that(word_ngrams >= 1 && word_ngrams <= 1000, "word_ngrams must be in [1, 1000], got ",
             word_ngrams);
  check.that(words >= 0 && words <= rows, "words must be in [0, ", rows, "], got ", words);
  check.that(buckets >= (word_ngrams > 1) && buckets <= INT32_MAX, "buckets must be in [",
             word_ngrams > 1 ? 1 : 0, ", 2^31), got ", buckets);
  const bool mapped = bucket_rows.numel() > 0;
  check.tensor("bucket_rows", bucket_rows, ScalarType::Int, {mapped ? buckets : kAny});
  check.that(mapped || word_ngrams == 1 || words + buckets <= rows, "in_table must have ",
             words + buckets, " rows, of words and buckets, got ", rows);
  check.that(loss >= 0 && loss <= static_cast<int64_t>(ClassifyLoss::kTree),
             "loss must be in [0, 3], got ", loss);
  const auto kind = static_cast<ClassifyLoss>(loss);
  const bool has_tree = kind == ClassifyLoss::kTree, has_noise = kind == ClassifyLoss::kNegative;
  check.that(!has_tree || labels >= 2, "out_table must have 2 rows or more with a tree, got 1");
  check.tensor("path_offsets", path_offsets, ScalarType::Long, {has_tree ? labels + 1 : kAny});
  check.tensor("paths", paths, ScalarType::Int, {kAny});
  check.aligned("in_table", in_table, 64);
  check.aligned("out_table", out_table, 64);
  check.apart({{"in_table", in_table}, {"out_table", out_table}, {"stats", stats}},
              {{"tokens", tokens},
               {"offsets", offsets},
               {"label_ids", label_ids},
               {"label_offsets", label_offsets},
               {"bag_offsets", bag_offsets},
               {"bag_rows", bag_rows},
               {"hashes", hashes},
               {"bucket_rows", bucket_rows},
               {"noise", noise},
               {"path_offsets", path_offsets},
               {"paths", paths}});
  const AliasEntry* aliases =
      has_noise ? alias_table<Device>(check, "noise", noise, labels) : nullptr;
  check.range("lines", first_line, last_line, offsets.size(0) - 1);
  check.that(negatives >= 0 && negatives <= 1000, "negatives must be in [0, 1000], got ",
             negatives);
  check.that(total_tokens > 0, "total_tokens must be positive, got ", total_tokens);
  check.threads(threads);
  const Device device(in_table);
  for_types<float, double>(check.op, "in_table", in_table.scalar_type(), [&]<typename scalar_t>() {
    const ClassifyTrainParams<scalar_t> params{
        .in_table = data<scalar_t>(in_table),
        .out_table = data<scalar_t>(out_table),
        .labels = labels,
        .stride = stride,
        .tokens = data<const int32_t>(tokens),
        .offsets = data<const int64_t>(offsets),
        .label_ids = data<const int32_t>(label_ids),
        .label_offsets = data<const int64_t>(label_offsets),
        .first_line = first_line,
        .last_line = last_line,
        .bag_offsets = data<const int64_t>(bag_offsets),
        .bag_rows = data<const int32_t>(bag_rows),
        .hashes = data<const int32_t>(hashes),
        .words = words,
        .buckets = buckets,
        .bucket_rows = mapped ? data<const int32_t>(bucket_rows) : nullptr,
        .word_ngrams = static_cast<int32_t>(word_ngrams),
        .loss = kind,
        .noise = aliases,
        .negatives = static_cast<int32_t>(negatives),
        .path_offsets = has_tree ? data<const int64_t>(path_offsets) : nullptr,
        .paths = has_tree ? data<const int32_t>(paths) : nullptr,
        .alpha = alpha,
        .min_alpha = min_alpha,
        .tokens_before = tokens_before,
        .total_tokens = total_tokens,
        .seed = static_cast<uint64_t>(seed),
        .epoch = static_cast<uint32_t>(epoch),
    };
    device.run(check, params,
               {.rows = rows,
                .tokens = tokens.size(0),
                .label_ids = label_ids.size(0),
                .types = hashes.size(0),
                .bag_rows = bag_rows,
                .bucket_rows = bucket_rows,
                .paths = paths.size(0)},
               data<double>(stats), threads);
  });
}

}  // namespace lexforge
