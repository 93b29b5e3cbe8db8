// What the CPU and the CUDA binding of skipgram_train_ share: checks, and tensors to params.
#pragma once

#include <utility>

#include "common/check.h"
#include "word2vec/skipgram_stream.h"

namespace lexforge {

template <typename scalar_t>
SkipgramStreamParams<scalar_t> skipgram_stream_params(
    const Tensor& in_table, const Tensor& out_table, const Tensor& stats, const Tensor& tokens,
    const Tensor& offsets, const Tensor& keep, const Tensor& noise, int64_t first_sentence,
    int64_t last_sentence, int64_t window, int64_t negatives, bool dynamic_window,
    bool share_negatives, double alpha, double min_alpha, int64_t tokens_before,
    int64_t total_tokens, int64_t seed, int64_t epoch) {
  constexpr const char* op = "skipgram_train_";
  const ScalarType dtype = in_table.scalar_type();
  check_contiguous(in_table, dtype, 2, op, "in_table");
  check_contiguous(out_table, dtype, 2, op, "out_table");
  check_contiguous(stats, ScalarType::Double, 1, op, "stats");
  check_contiguous(tokens, ScalarType::Int, 1, op, "tokens");
  check_contiguous(offsets, ScalarType::Long, 1, op, "offsets");
  check_contiguous(keep, ScalarType::Float, 1, op, "keep");
  check_contiguous(noise, ScalarType::Int, 2, op, "noise");
  check_devices(op, {{"in_table", in_table},
                     {"out_table", out_table},
                     {"stats", stats},
                     {"tokens", tokens},
                     {"offsets", offsets},
                     {"keep", keep},
                     {"noise", noise}});
  const int64_t vocab_size = in_table.size(0), stride = in_table.size(1);
  STD_TORCH_CHECK(out_table.size(0) == vocab_size && out_table.size(1) == stride, op,
                  ": out_table must have the shape of in_table");
  STD_TORCH_CHECK(stride > 0 && stride % 16 == 0, op,
                  ": in_table must have rows of a multiple of 16, got ", stride);
  STD_TORCH_CHECK(keep.size(0) == vocab_size && noise.size(0) == vocab_size && noise.size(1) == 2,
                  op, ": keep must be [V] and noise [V, 2] with V = ", vocab_size);
  STD_TORCH_CHECK(vocab_size < (int64_t{1} << 31), op,
                  ": in_table must have fewer than 2^31 rows, got ", vocab_size);
  for (const auto& [table, name] : {std::pair{&in_table, "in_table"}, {&out_table, "out_table"}}) {
    STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(table->data_ptr()) % 64 == 0, op, ": ", name,
                    " must start at a 64-byte boundary");
  }
  STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(noise.data_ptr()) % alignof(AliasEntry) == 0, op,
                  ": noise must start at a multiple of 8 bytes");
  STD_TORCH_CHECK(stats.size(0) == 3, op, ": stats must be [3], got ", stats.size(0));
  STD_TORCH_CHECK(0 <= first_sentence && first_sentence <= last_sentence &&
                      last_sentence <= offsets.size(0) - 1,
                  op, ": sentences must be a range within [0, ", offsets.size(0) - 1, "], got [",
                  first_sentence, ", ", last_sentence, ")");
  STD_TORCH_CHECK(window >= 1 && window <= 1000 && negatives >= 0 && negatives <= 1000, op,
                  ": window must be in [1, 1000] and negatives in [0, 1000], got ", window, " and ",
                  negatives);
  STD_TORCH_CHECK(total_tokens > 0, op, ": total_tokens must be positive, got ", total_tokens);
  return {
      .in_table = data<scalar_t>(in_table),
      .out_table = data<scalar_t>(out_table),
      .vocab_size = vocab_size,
      .stride = stride,
      .tokens = data<const int32_t>(tokens),
      .offsets = data<const int64_t>(offsets),
      .first_sentence = first_sentence,
      .last_sentence = last_sentence,
      .keep = data<const float>(keep),
      .noise = reinterpret_cast<const AliasEntry*>(data<const int32_t>(noise)),
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
}

}  // namespace lexforge
