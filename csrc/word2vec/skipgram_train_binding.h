// The body of skipgram_train_ on any device.
#pragma once

#include "common/binding.h"
#include "sampling/sampling_binding.h"
#include "word2vec/skipgram_train.h"

namespace lexforge {

template <typename Device>
void skipgram_train(Tensor& in_table, Tensor& out_table, Tensor& stats, const Tensor& tokens,
                    const Tensor& offsets, const Tensor& keep, const Tensor& noise,
                    int64_t first_sentence, int64_t last_sentence, int64_t window,
                    int64_t negatives, bool dynamic_window, bool share_negatives, double alpha,
                    double min_alpha, int64_t tokens_before, int64_t total_tokens, int64_t seed,
                    int64_t epoch, int64_t threads) {
  constexpr int64_t kAny = Checks::kAny;
  const Checks check("skipgram_train_", "in_table", in_table);
  check.tensor("in_table", in_table, in_table.scalar_type(), {kAny, kAny});
  check.like("in_table", in_table, "out_table", out_table);
  const int64_t vocab_size = in_table.size(0), stride = in_table.size(1);
  check.tensor("stats", stats, ScalarType::Double, {3});
  check.tensor("tokens", tokens, ScalarType::Int, {kAny});
  check.tensor("offsets", offsets, ScalarType::Long, {kAny});
  check.tensor("keep", keep, ScalarType::Float, {vocab_size});
  check.that(stride > 0 && stride % 16 == 0, "in_table must have rows of a multiple of 16, got ",
             stride);
  check.that(vocab_size <= INT32_MAX, "in_table must have fewer than 2^31 rows, got ", vocab_size);
  check.aligned("in_table", in_table, 64);
  check.aligned("out_table", out_table, 64);
  check.apart({{"in_table", in_table}, {"out_table", out_table}, {"stats", stats}},
              {{"tokens", tokens}, {"offsets", offsets}, {"keep", keep}, {"noise", noise}});
  const AliasEntry* aliases = alias_table<Device>(check, "noise", noise, vocab_size);
  check.range("sentences", first_sentence, last_sentence, offsets.size(0) - 1);
  check.that(window >= 1 && window <= 1000 && negatives >= 0 && negatives <= 1000,
             "window must be in [1, 1000] and negatives in [0, 1000], got ", window, " and ",
             negatives);
  check.that(total_tokens > 0, "total_tokens must be positive, got ", total_tokens);
  check.threads(threads);
  const Device device(in_table);
  for_types<float, double>(check.op, "in_table", in_table.scalar_type(), [&]<typename scalar_t>() {
    const SkipgramTrainParams<scalar_t> params{
        .in_table = data<scalar_t>(in_table),
        .out_table = data<scalar_t>(out_table),
        .vocab_size = vocab_size,
        .stride = stride,
        .tokens = data<const int32_t>(tokens),
        .offsets = data<const int64_t>(offsets),
        .first_sentence = first_sentence,
        .last_sentence = last_sentence,
        .keep = data<const float>(keep),
        .noise = aliases,
        .window = static_cast<int32_t>(window),
        .negatives = static_cast<int32_t>(negatives),
        .dynamic_window = dynamic_window,
        .share_negatives = share_negatives,
        .alpha = alpha,
        .min_alpha = min_alpha,
        .tokens_before = tokens_before,
        .total_tokens = total_tokens,
        .seed = static_cast<uint64_t>(seed),
        .epoch = static_cast<uint32_t>(epoch),
    };
    device.run(check, params, tokens.size(0), stats, threads);
  });
}

}  // namespace lexforge
