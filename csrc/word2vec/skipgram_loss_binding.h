// The body of skipgram_loss.h's ops on any device.
#pragma once

#include <tuple>

#include "common/binding.h"
#include "word2vec/skipgram_loss.h"

namespace lexforge {

// The arguments that all of them share.
struct SkipgramLossBatch {
  const Tensor& center;
  const Tensor& target;
  const Tensor& embed_v;
  const Tensor& embed_u;

  int64_t size() const { return target.size(0); }
  int64_t length() const { return target.size(1); }
  int64_t dim() const { return embed_v.size(1); }

  template <typename Device>
  Checks check(const char* op) const {
    const Checks check(op, "embed_v", embed_v);
    const ScalarType dtype = embed_v.scalar_type();
    check.tensor("embed_v", embed_v, dtype, {Checks::kAny, Checks::kAny});
    check.tensor("embed_u", embed_u, dtype, {Checks::kAny, dim()});
    check.tensor("center", center, ScalarType::Int, {Checks::kAny});
    check.tensor("contexts_and_negatives", target, ScalarType::Int, {center.size(0), Checks::kAny});
    check.that(target.numel() <= INT32_MAX, "too many targets in one batch");
    Device::check_ids(check, "center", center, embed_v.size(0));
    Device::check_ids(check, "contexts_and_negatives", target, embed_u.size(0));
    return check;
  }
};

// (loss, error).
template <typename Device>
std::tuple<Tensor, Tensor> skipgram_loss(const Tensor& center, const Tensor& target,
                                         const Tensor& mask, const Tensor& label,
                                         const Tensor& embed_v, const Tensor& embed_u) {
  const SkipgramLossBatch batch{center, target, embed_v, embed_u};
  const Checks check = batch.check<Device>("skipgram_loss");
  const int64_t size = batch.size(), length = batch.length();
  check.tensor("mask", mask, embed_v.scalar_type(), {size, length});
  check.tensor("label", label, embed_v.scalar_type(), {size, length});
  const Device device(embed_v);
  const Tensor loss = new_empty(embed_v, {size}), error = new_empty(embed_v, {size, length});
  const ScalarType dtype = embed_v.scalar_type();
  for_types<float, double>(check.op, "embed_v", dtype, [&]<typename scalar_t>() {
    device.run(
        SkipgramLossParams<scalar_t>{
            data<const scalar_t>(embed_v), data<const scalar_t>(embed_u), batch.dim(),
            data<const int32_t>(center), data<const int32_t>(target), data<const scalar_t>(mask),
            data<const scalar_t>(label), length, data<scalar_t>(loss), data<scalar_t>(error)},
        size);
  });
  return {loss, error};
}

// Gradients of both tables: of all their rows, or, if compact, of the rows that occur.
struct SkipgramLossGradients {
  Tensor rows_v, values_v, rows_u, values_u;
};

template <typename Device, bool compact>
SkipgramLossGradients skipgram_loss_gradients(const Tensor& grad_loss, const Tensor& error,
                                              const SkipgramLossBatch& batch) {
  const Checks check = batch.check<Device>("skipgram_loss_backward");
  const ScalarType dtype = batch.embed_v.scalar_type();
  check.tensor("error", error, dtype, {batch.size(), batch.length()});
  check.tensor("grad_loss", grad_loss, dtype, {batch.size()});
  const Device device(batch.embed_v);
  SkipgramLossGradients gradients;
  for_types<float, double>(check.op, "embed_v", dtype, [&]<typename scalar_t>() {
    gradients = device.template backward<scalar_t>(grad_loss, error, batch, compact);
  });
  return gradients;
}

// Where the gradients of `count` rows go, or of all of them.
inline Tensor new_gradient(const Tensor& table, bool compact, int64_t count) {
  return compact ? new_empty(table, {count, table.size(1)}) : new_zeros(table, table.sizes());
}

template <typename Device>
std::tuple<Tensor, Tensor> skipgram_loss_backward(const Tensor& grad_loss, const Tensor& error,
                                                  const Tensor& center, const Tensor& target,
                                                  const Tensor& embed_v, const Tensor& embed_u) {
  const auto all =
      skipgram_loss_gradients<Device, false>(grad_loss, error, {center, target, embed_v, embed_u});
  return {all.values_v, all.values_u};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> skipgram_loss_backward_rows(
    const Tensor& grad_loss, const Tensor& error, const Tensor& center, const Tensor& target,
    const Tensor& embed_v, const Tensor& embed_u) {
  const auto all =
      skipgram_loss_gradients<Device, true>(grad_loss, error, {center, target, embed_v, embed_u});
  return {all.rows_v, all.values_v, all.rows_u, all.values_u};
}

}  // namespace lexforge
