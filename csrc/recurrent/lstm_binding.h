// The body of lstm.h's ops on any device.
#pragma once

#include <tuple>

#include "common/binding.h"
#include "recurrent/lstm.h"

namespace lexforge {

// What both ops share, checked for all that does not need the content of cu_seqlens.
inline LstmShape lstm_shape(const Checks& check, const Tensor& w_hh, const Tensor& cu_seqlens,
                            int64_t tokens) {
  check.that(w_hh.dim() == 3, "w_hh must have 3 dimensions, got ", w_hh.dim());
  LstmShape shape{};
  shape.tokens = tokens;
  shape.directions = w_hh.size(0);
  shape.hidden = w_hh.size(2);
  check.that(1 <= shape.directions && shape.directions <= 2,
             "w_hh must be of 1 or 2 directions, got ", shape.directions);
  check.that(1 <= shape.hidden && shape.hidden <= kMaxLstmHidden, "hidden size must be 1 to ",
             kMaxLstmHidden, ", got ", shape.hidden);
  check.that(tokens <= INT32_MAX, "there must be fewer than 2^31 tokens");
  check.tensor("cu_seqlens", cu_seqlens, ScalarType::Int, {Checks::kAny});
  check.that(cu_seqlens.size(0) >= 1, "cu_seqlens must be [B + 1], got [0]");
  shape.texts = cu_seqlens.size(0) - 1;
  shape.cu_seqlens = data<const int32_t>(cu_seqlens);
  return shape;
}

// (out, h_n, c_n, activated, cells).
template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> lstm(const Tensor& gates,
                                                        const OptionalTensor& index,
                                                        const Tensor& w_hh,
                                                        const Tensor& cu_seqlens, bool save) {
  const Checks check("lstm", "gates", gates);
  const ScalarType dtype = gates.scalar_type();
  check.tensor("gates", gates, dtype, {Checks::kAny, Checks::kAny});
  const int64_t rows = gates.size(0);
  check.tensor("index", index, ScalarType::Int, {Checks::kAny});
  const int64_t tokens = index.has_value() ? index->size(0) : rows;
  const LstmShape shape = lstm_shape(check, w_hh, cu_seqlens, tokens);
  const int64_t width = shape.directions * shape.hidden;
  check.tensor("w_hh", w_hh, dtype, {shape.directions, kGates * shape.hidden, shape.hidden});
  check.tensor("gates", gates, dtype, {rows, kGates * width});
  if (index.has_value()) Device::check_ids(check, "index", *index, rows);
  Device::check_lengths(check, shape);
  const Device device(gates);
  const int64_t saved = save ? tokens : 0;
  const Tensor out = Device::large(new_empty(gates, {tokens, width}));
  const Tensor h_n = new_empty(gates, {shape.texts, width});
  const Tensor c_n = new_empty(gates, {shape.texts, width});
  const Tensor activated = Device::large(new_empty(gates, {saved, kGates * width}));
  const Tensor cells = Device::large(new_empty(gates, {saved, width}));
  for_types<float, double>(check.op, "gates", dtype, [&]<typename scalar_t>() {
    device.run(LstmParams<scalar_t>{
        shape, data<const scalar_t>(gates), data_or_null<const int32_t>(index), rows,
        data<const scalar_t>(w_hh), data<scalar_t>(out), data<scalar_t>(h_n), data<scalar_t>(c_n),
        save ? data<scalar_t>(activated) : nullptr, save ? data<scalar_t>(cells) : nullptr});
  });
  return {out, h_n, c_n, activated, cells};
}

template <typename Device>
Tensor lstm_backward(const OptionalTensor& grad_out, const OptionalTensor& grad_h,
                     const OptionalTensor& grad_c, const Tensor& w_hh, const Tensor& cu_seqlens,
                     const Tensor& activated, const Tensor& cells) {
  const Checks check("lstm_backward", "activated", activated);
  const ScalarType dtype = activated.scalar_type();
  check.tensor("activated", activated, dtype, {Checks::kAny, Checks::kAny});
  const int64_t tokens = activated.size(0);
  const LstmShape shape = lstm_shape(check, w_hh, cu_seqlens, tokens);
  const int64_t width = shape.directions * shape.hidden;
  check.tensor("w_hh", w_hh, dtype, {shape.directions, kGates * shape.hidden, shape.hidden});
  check.tensor("activated", activated, dtype, {tokens, kGates * width});
  check.tensor("cells", cells, dtype, {tokens, width});
  check.tensor("grad_out", grad_out, dtype, {tokens, width});
  check.tensor("grad_h", grad_h, dtype, {shape.texts, width});
  check.tensor("grad_c", grad_c, dtype, {shape.texts, width});
  Device::check_lengths(check, shape);
  const Device device(activated);
  const Tensor grad_gates = Device::large(new_empty(activated, {tokens, kGates * width}));
  for_types<float, double>(check.op, "activated", dtype, [&]<typename scalar_t>() {
    device.run(LstmBackwardParams<scalar_t>{
        shape, data<const scalar_t>(w_hh), data<const scalar_t>(activated),
        data<const scalar_t>(cells), data_or_null<const scalar_t>(grad_out),
        data_or_null<const scalar_t>(grad_h), data_or_null<const scalar_t>(grad_c),
        data<scalar_t>(grad_gates)});
  });
  return grad_gates;
}

}  // namespace lexforge
