// The body of conv_max_pool.h's ops on any device.
#pragma once

#include <tuple>

#include "common/binding.h"
#include "convolution/conv_max_pool.h"

namespace lexforge {

// The texts of a call, of `tokens` tokens if there is no index.
template <typename Device>
ConvTexts conv_texts(const Checks& check, const Tensor& cu_seqlens, const OptionalTensor& index,
                     int64_t tokens, int64_t min_length) {
  check.tensor("cu_seqlens", cu_seqlens, ScalarType::Int, {Checks::kAny});
  check.tensor("index", index, ScalarType::Int, {Checks::kAny});
  check.that(cu_seqlens.size(0) >= 1, "cu_seqlens must be [B + 1], got none");
  if (index.has_value()) tokens = index->size(0);
  check.that(tokens <= INT32_MAX, "tokens must be fewer than 2^31");
  const int64_t count = cu_seqlens.size(0) - 1;
  if constexpr (Device::kReadable) {
    const auto* bound = data<const int32_t>(cu_seqlens);
    check.that(bound[0] == 0, "cu_seqlens must begin with 0, got ", bound[0]);
    for (int64_t b = 0; b < count; ++b) {
      check.that(bound[b] <= bound[b + 1], "cu_seqlens must ascend, got ", bound[b + 1], " after ",
                 bound[b]);
    }
    check.that(bound[count] <= tokens, "cu_seqlens must be at most ", tokens, ", got ",
               bound[count]);
  }
  return {
      .cu_seqlens = data<const int32_t>(cu_seqlens),
      .index = data_or_null<const int32_t>(index),
      .count = count,
      .tokens = tokens,
      .min_length = min_length,
  };
}

// (out, place).
template <typename Device>
std::tuple<Tensor, Tensor> conv_max_pool(const Tensor& x, const Tensor& cu_seqlens,
                                         const Tensor& weight, const OptionalTensor& bias,
                                         const OptionalTensor& index, int64_t min_length) {
  const Checks check("conv_max_pool", "x", x);
  check.tensor("x", x, x.scalar_type(), {Checks::kAny, Checks::kAny});
  const int64_t rows = x.size(0), dim = x.size(1);
  check.tensor("weight", weight, x.scalar_type(), {Checks::kAny, Checks::kAny, dim});
  const int64_t taps = weight.size(0), channels = weight.size(1);
  check.tensor("bias", bias, stat_type(x), {channels});
  check.that(taps >= 1, "weight must have at least one tap");
  check.that(taps <= min_length && min_length <= INT32_MAX, "min_length must be in [", taps,
             ", 2^31 - 1], got ", min_length);
  check.that(rows <= INT32_MAX, "x must have fewer than 2^31 rows");
  const ConvTexts texts = conv_texts<Device>(check, cu_seqlens, index, rows, min_length);
  check.that(taps * channels <= INT32_MAX && taps * channels * texts.count <= INT32_MAX,
             "taps, channels and texts must multiply to less than 2^31");
  if (index.has_value()) Device::check_ids(check, "index", *index, rows);
  const Device device(x);
  const Tensor out = new_empty(x, {texts.count, channels});
  const Tensor place = new_empty(x, {texts.count, channels}, ScalarType::Int);
  if (out.numel() == 0) return {out, place};
  for_types<float, Bfloat16, double>(check.op, "x", x.scalar_type(), [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    device.run(
        ConvMaxPoolParams<scalar_t, stat_t>{
            .x = data<const scalar_t>(x),
            .weight = data<const scalar_t>(weight),
            .bias = data_or_null<const stat_t>(bias),
            .texts = texts,
            .rows = rows,
            .taps = taps,
            .channels = channels,
            .dim = dim,
            .out = data<scalar_t>(out),
            .place = data<int32_t>(place),
        },
        x, weight);
  });
  return {out, place};
}

// (row, share).
template <typename Device>
std::tuple<Tensor, Tensor> conv_max_pool_picks(const Tensor& grad_out, const Tensor& place,
                                               const Tensor& cu_seqlens,
                                               const OptionalTensor& index, int64_t taps) {
  const Checks check("conv_max_pool_picks", "grad_out", grad_out);
  check.tensor("grad_out", grad_out, grad_out.scalar_type(), {Checks::kAny, Checks::kAny});
  const int64_t channels = grad_out.size(1);
  // Without an index the rows are the tokens, however many there are.
  const ConvTexts texts = conv_texts<Device>(check, cu_seqlens, index, INT32_MAX, taps);
  check.tensor("grad_out", grad_out, grad_out.scalar_type(), {texts.count, channels});
  check.tensor("place", place, ScalarType::Int, {texts.count, channels});
  check.that(
      taps >= 1 && taps * channels <= INT32_MAX && taps * channels * texts.count <= INT32_MAX,
      "taps must be at least 1, and with channels and texts multiply to less than 2^31");
  const Device device(grad_out);
  const Tensor row = new_empty(place, {taps, channels, texts.count});
  const Tensor share = new_empty(grad_out, {taps, channels, texts.count});
  if (row.numel() == 0) return {row, share};
  for_types<float, double>(check.op, "grad_out", grad_out.scalar_type(), [&]<typename stat_t>() {
    device.run(ConvPicksParams<stat_t>{
        .grad_out = data<const stat_t>(grad_out),
        .place = data<const int32_t>(place),
        .texts = texts,
        .taps = taps,
        .channels = channels,
        .row = data<int32_t>(row),
        .share = data<stat_t>(share),
    });
  });
  return {row, share};
}

}  // namespace lexforge
