// The body of word2vec_train_ on any device.
#pragma once

#include "common/binding.h"
#include "sampling/sampling_binding.h"
#include "word2vec/word2vec_train.h"

namespace lexforge {

// out_table and tree_table have V and V - 1 rows, or none: then that loss is left out, and so is
// what belongs to it. bag_offsets is empty, or has V + 1 elements, and in_table then R >= V rows.
template <typename Device>
void word2vec_train(Tensor& in_table, Tensor& out_table, Tensor& tree_table, Tensor& stats,
                    Tensor& shard_rows, const Tensor& tokens, const Tensor& offsets,
                    const Tensor& keep, const Tensor& in_scale, const Tensor& noise,
                    const Tensor& path_offsets, const Tensor& paths, int64_t longest_path,
                    const Tensor& bag_offsets, const Tensor& bag_rows, int64_t longest_bag,
                    bool bag_mean, int64_t first_sentence, int64_t last_sentence, bool cbow,
                    bool cbow_mean, int64_t window, int64_t negatives, bool dynamic_window,
                    bool share_negatives, int64_t together, int64_t shards, int64_t shard_tokens,
                    double alpha, double min_alpha, int64_t tokens_before, int64_t total_tokens,
                    int64_t seed, int64_t epoch, int64_t threads) {
  constexpr int64_t kAny = Checks::kAny;
  const Checks check("word2vec_train_", "in_table", in_table);
  check.tensor("in_table", in_table, in_table.scalar_type(), {kAny, kAny});
  const int64_t in_rows = in_table.size(0), stride = in_table.size(1);
  const bool has_bags = bag_offsets.numel() > 0;
  check.tensor("bag_offsets", bag_offsets, ScalarType::Long, {kAny});
  check.tensor("bag_rows", bag_rows, ScalarType::Int, {kAny});
  const int64_t vocab_size = has_bags ? bag_offsets.size(0) - 1 : in_rows;
  check.that(stride > 0 && stride % 16 == 0, "in_table must have rows of a multiple of 16, got ",
             stride);
  check.that(in_rows <= INT32_MAX, "in_table must have fewer than 2^31 rows, got ", in_rows);
  check.that(vocab_size <= in_rows, "in_table must have a row for each of the ", vocab_size,
             " words that have bags, got ", in_rows);
  const bool has_noise = out_table.numel() > 0, has_tree = tree_table.numel() > 0;
  check.that(has_noise || has_tree, "out_table or tree_table must have rows");
  check.tensor("out_table", out_table, in_table.scalar_type(),
               {has_noise ? vocab_size : 0, stride});
  check.tensor("tree_table", tree_table, in_table.scalar_type(),
               {has_tree ? vocab_size - 1 : 0, stride});
  check.tensor("stats", stats, ScalarType::Double, {3});
  check.tensor("tokens", tokens, ScalarType::Int, {kAny});
  check.tensor("offsets", offsets, ScalarType::Long, {kAny});
  check.tensor("keep", keep, ScalarType::Float, {vocab_size});
  const bool scaled = in_scale.numel() > 0;
  check.tensor("in_scale", in_scale, ScalarType::Float, {scaled ? in_rows : 0});
  check.tensor("path_offsets", path_offsets, ScalarType::Long, {has_tree ? vocab_size + 1 : kAny});
  check.tensor("paths", paths, ScalarType::Int, {kAny});
  check.aligned("in_table", in_table, 64);
  check.aligned("out_table", out_table, 64);
  check.aligned("tree_table", tree_table, 64);
  check.apart({{"in_table", in_table},
               {"out_table", out_table},
               {"tree_table", tree_table},
               {"stats", stats},
               {"shard_rows", shard_rows}},
              {{"tokens", tokens},
               {"offsets", offsets},
               {"keep", keep},
               {"in_scale", in_scale},
               {"noise", noise},
               {"path_offsets", path_offsets},
               {"paths", paths},
               {"bag_offsets", bag_offsets},
               {"bag_rows", bag_rows}});
  const AliasEntry* aliases =
      has_noise ? alias_table<Device>(check, "noise", noise, vocab_size) : nullptr;
  check.range("sentences", first_sentence, last_sentence, offsets.size(0) - 1);
  check.that(window >= 1 && window <= 1000 && negatives >= 0 && negatives <= 1000,
             "window must be in [1, 1000] and negatives in [0, 1000], got ", window, " and ",
             negatives);
  check.that(longest_path >= 0 && longest_path <= kLongestPath, "longest_path must be in [0, ",
             kLongestPath, "], got ", longest_path);
  check.that(!has_bags || (longest_bag >= 1 && longest_bag <= kLongestBag),
             "longest_bag must be in [1, ", kLongestBag, "], got ", longest_bag);
  check.that(together >= 0 && together <= (Device::kShards ? 0 : 1000), "together must be in ",
             Device::kShards ? "[0, 0] on the CPU, which has shards" : "[0, 1000]", ", got ",
             together);
  check.that(shards >= 0 && shards <= (Device::kShards ? kMostShards : 0), "shards must be in ",
             Device::kShards ? "[0, 64]" : "[0, 0] on a GPU", ", got ", shards);
  check.that(shard_tokens >= 1 && shard_tokens <= (int64_t{1} << 32),
             "shard_tokens must be in [1, 2^32], got ", shard_tokens);
  check.that(total_tokens > 0, "total_tokens must be positive, got ", total_tokens);
  check.tensor("shard_rows", shard_rows, ScalarType::Byte, {shards > 0 ? kAny : 0});
  check.threads(threads);
  const Device device(in_table);
  for_types<float, double, Bfloat16>(
      check.op, "in_table", in_table.scalar_type(), [&]<typename row_t>() {
        const Word2vecTrainParams<row_t> params{
            .in_table = data<row_t>(in_table),
            .out_table = has_noise ? data<row_t>(out_table) : nullptr,
            .tree_table = has_tree ? data<row_t>(tree_table) : nullptr,
            .vocab_size = vocab_size,
            .in_rows = in_rows,
            .stride = stride,
            .tokens = data<const int32_t>(tokens),
            .offsets = data<const int64_t>(offsets),
            .first_sentence = first_sentence,
            .last_sentence = last_sentence,
            .keep = data<const float>(keep),
            .in_scale = scaled ? data<const float>(in_scale) : nullptr,
            .noise = aliases,
            .path_offsets = has_tree ? data<const int64_t>(path_offsets) : nullptr,
            .paths = has_tree ? data<const int32_t>(paths) : nullptr,
            .path_count = paths.size(0),
            .longest_path = static_cast<int32_t>(has_tree ? longest_path : 0),
            .bag_offsets = has_bags ? data<const int64_t>(bag_offsets) : nullptr,
            .bag_rows = has_bags ? data<const int32_t>(bag_rows) : nullptr,
            .bag_count = bag_rows.size(0),
            .longest_bag = static_cast<int32_t>(has_bags ? longest_bag : 0),
            .bag_mean = bag_mean,
            .cbow = cbow,
            .cbow_mean = cbow_mean,
            .window = static_cast<int32_t>(window),
            .negatives = static_cast<int32_t>(has_noise ? negatives : 0),
            .dynamic_window = dynamic_window,
            .share_negatives = share_negatives || cbow,
            .together = static_cast<int32_t>(together),
            .shards = static_cast<int32_t>(shards),
            .shard_tokens = shard_tokens,
            .alpha = alpha,
            .min_alpha = min_alpha,
            .tokens_before = tokens_before,
            .total_tokens = total_tokens,
            .seed = static_cast<uint64_t>(seed),
            .epoch = static_cast<uint32_t>(epoch),
        };
        device.run(check, params, tokens.size(0), stats, shard_rows, threads);
      });
}

}  // namespace lexforge
