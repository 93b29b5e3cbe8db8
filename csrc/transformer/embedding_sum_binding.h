// What the CPU and the CUDA binding of embedding_sum share: checks, and tensors to params.
#pragma once

#include <optional>

#include "common/check.h"
#include "transformer/embedding_sum.h"

namespace lexforge {

using OptionalTensor = std::optional<Tensor>;

// The arguments that forward and backward share.
struct EmbeddingArguments {
  const char* op;
  const Tensor& tokens;
  const OptionalTensor& segments;
  const Tensor& positions;
  const Tensor& token_table;
  const OptionalTensor& segment_table;
  const Tensor& position_table;
  const OptionalTensor& norm_weight;
  const OptionalTensor& seed;
  double dropout_p;

  void check() const {
    const ScalarType dtype = token_table.scalar_type();
    STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, op,
                    ": token_table must be float32 or float64");
    check_contiguous(token_table, dtype, 2, op, "token_table");
    STD_TORCH_CHECK(token_table.size(1) > 0, op, ": token_table must have columns");
    check_table(position_table, "position_table");
    check_ids(tokens, "tokens");
    check_ids(positions, "positions");
    STD_TORCH_CHECK(segments.has_value() == segment_table.has_value(), op,
                    ": segments go with segment_table");
    if (segments.has_value()) {
      check_table(*segment_table, "segment_table");
      check_ids(*segments, "segments");
    }
    if (norm_weight.has_value()) check_vector(*norm_weight, token_table.size(1), "norm_weight");
    STD_TORCH_CHECK(0 <= dropout_p && dropout_p <= 1, op, ": dropout_p must be 0 to 1");
    if (dropout_p > 0) {
      STD_TORCH_CHECK(seed.has_value() && seed->scalar_type() == ScalarType::Long &&
                          seed->numel() == 1 && seed->device() == token_table.device(),
                      op, ": seed must be one int64 on the device of the tables");
    }
  }

  // A vector of the tables' dtype.
  void check_vector(const Tensor& vector, int64_t size, const char* name) const {
    check_contiguous(vector, token_table.scalar_type(), 1, op, name);
    STD_TORCH_CHECK(vector.size(0) == size, op, ": ", name, " must be [", size, "], got [",
                    vector.size(0), "]");
    check_device(vector, name);
  }

  // A gradient of out, or out itself.
  void check_out(const Tensor& out, const char* name) const {
    check_out_dtype(out.scalar_type(), name);
    check_contiguous(out, out.scalar_type(), 2, op, name);
    STD_TORCH_CHECK(out.size(0) == tokens.size(0) && out.size(1) == token_table.size(1), op, ": ",
                    name, " must be [T, H]");
    check_device(out, name);
  }
  void check_out_dtype(ScalarType dtype, const char* name) const {
    const ScalarType table = token_table.scalar_type();
    STD_TORCH_CHECK(dtype == table || (dtype == ScalarType::BFloat16 && table == ScalarType::Float),
                    op, ": ", name,
                    " must be of the tables' dtype, or bfloat16 with float32 tables");
  }

  template <typename stat_t>
  EmbeddingRows<stat_t> rows() const {
    const bool has_segments = segments.has_value();
    return {
        .tokens = data<const int32_t>(tokens),
        .segments = has_segments ? data<const int32_t>(*segments) : nullptr,
        .positions = data<const int32_t>(positions),
        .token_table = data<const stat_t>(token_table),
        .segment_table = has_segments ? data<const stat_t>(*segment_table) : nullptr,
        .position_table = data<const stat_t>(position_table),
        .token_rows = token_table.size(0),
        .segment_rows = has_segments ? segment_table->size(0) : 0,
        .position_rows = position_table.size(0),
        .count = tokens.size(0),
        .width = token_table.size(1),
        .weight = norm_weight.has_value() ? data<const stat_t>(*norm_weight) : nullptr,
        .dropout = dropout_of(dropout_p > 0 ? data<const int64_t>(*seed) : nullptr, dropout_p),
    };
  }

 private:
  void check_device(const Tensor& tensor, const char* name) const {
    STD_TORCH_CHECK(tensor.device() == token_table.device(), op, ": ", name,
                    " must be on the device of token_table");
  }
  void check_table(const Tensor& table, const char* name) const {
    check_contiguous(table, token_table.scalar_type(), 2, op, name);
    STD_TORCH_CHECK(table.size(1) == token_table.size(1), op, ": ", name, " must have ",
                    token_table.size(1), " columns, got ", table.size(1));
    STD_TORCH_CHECK(table.size(0) < INT32_MAX, op, ": ", name,
                    " must have fewer than 2^31 - 1 rows");
    check_device(table, name);
  }
  void check_ids(const Tensor& ids, const char* name) const {
    check_contiguous(ids, ScalarType::Int, 1, op, name);
    STD_TORCH_CHECK(ids.size(0) == tokens.size(0), op, ": ", name,
                    " must have the length of tokens");
    STD_TORCH_CHECK(ids.size(0) <= INT32_MAX, op, ": ", name, " must have fewer than 2^31 entries");
    check_device(ids, name);
  }
};

}  // namespace lexforge
