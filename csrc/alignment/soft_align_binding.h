// The body of soft_align.h's ops on any device.
#pragma once

#include <tuple>

#include "alignment/soft_align.h"
#include "common/binding.h"

namespace lexforge {

// The arguments that forward and backward share, checked for all that does not need the content of
// cu_a and cu_b.
inline SoftAlignShape soft_align_shape(const Checks& check, const Tensor& f_a, const Tensor& f_b,
                                       const Tensor& a, const Tensor& b, const Tensor& cu_a,
                                       const Tensor& cu_b, int64_t max_a, int64_t max_b) {
  for (const auto& [name, rows] : {std::pair{"f_a", &f_a}, {"f_b", &f_b}, {"a", &a}, {"b", &b}}) {
    check.device(name, *rows);
    check.dtype(name, *rows, f_a.scalar_type());
    check.that(rows->dim() == 2, name, " must have 2 dimensions, got ", rows->dim());
    check.that(rows->size(1) >= 1, name, " must have at least one column");
    check.unit_stride(name, *rows);
  }
  check.that(f_b.size(1) == f_a.size(1), "f_b must have the columns of f_a, ", f_a.size(1),
             ", got ", f_b.size(1));
  check.that(b.size(1) == a.size(1), "b must have the columns of a, ", a.size(1), ", got ",
             b.size(1));
  for (const auto& [f_name, f, name, rows, cu_name, cu, max_name, longest] :
       {std::tuple{"f_a", &f_a, "a", &a, "cu_a", &cu_a, "max_a", max_a},
        {"f_b", &f_b, "b", &b, "cu_b", &cu_b, "max_b", max_b}}) {
    check.that(rows->size(0) == f->size(0), name, " must have the rows of ", f_name, ", ",
               f->size(0), ", got ", rows->size(0));
    check.tensor(cu_name, *cu, ScalarType::Int, {Checks::kAny});
    check.that(0 <= longest && longest < int64_t{1} << 27, max_name, " must be below 2^27, got ",
               longest);
  }
  check.that(cu_a.size(0) >= 1, "cu_a must be [N + 1], got [0]");
  check.that(cu_a.size(0) <= INT32_MAX, "too many pairs");
  check.that(cu_b.size(0) == cu_a.size(0), "cu_b must be as long as cu_a, ", cu_a.size(0), ", got ",
             cu_b.size(0));
  return {cu_a.size(0) - 1,
          f_a.size(1),
          a.size(1),
          f_a.size(0),
          f_b.size(0),
          max_a,
          max_b,
          data<const int32_t>(cu_a),
          data<const int32_t>(cu_b)};
}

template <typename scalar_t>
AlignRows<scalar_t> align_rows(const Tensor& rows) {
  return {data<scalar_t>(rows), rows.stride(0)};
}

// (beta, alpha, stats_a, stats_b).
template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> soft_align(const Tensor& f_a, const Tensor& f_b,
                                                      const Tensor& a, const Tensor& b,
                                                      const Tensor& cu_a, const Tensor& cu_b,
                                                      int64_t max_a, int64_t max_b) {
  const Checks check("soft_align", "f_a", f_a);
  const SoftAlignShape shape = soft_align_shape(check, f_a, f_b, a, b, cu_a, cu_b, max_a, max_b);
  Device::check_lengths(check, shape);
  const Device device(f_a);
  const Tensor beta = new_empty(a, a.sizes()), alpha = new_empty(b, b.sizes());
  const Tensor stats_a = new_empty(a, {2, shape.tokens_a}, stat_type(a));
  const Tensor stats_b = new_empty(a, {2, shape.tokens_b}, stat_type(a));
  for_types<float, double, Bfloat16>(check.op, "f_a", f_a.scalar_type(), [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    device.run(SoftAlignParams<scalar_t, stat_t>{
        shape, align_rows<const scalar_t>(f_a), align_rows<const scalar_t>(f_b),
        align_rows<const scalar_t>(a), align_rows<const scalar_t>(b), align_rows<scalar_t>(beta),
        align_rows<scalar_t>(alpha), data<stat_t>(stats_a), data<stat_t>(stats_b)});
  });
  return {beta, alpha, stats_a, stats_b};
}

// The gradients of f_a, f_b, a and b.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> soft_align_backward(
    const Tensor& grad_beta, const Tensor& grad_alpha, const Tensor& f_a, const Tensor& f_b,
    const Tensor& a, const Tensor& b, const Tensor& beta, const Tensor& alpha,
    const Tensor& stats_a, const Tensor& stats_b, const Tensor& cu_a, const Tensor& cu_b,
    int64_t max_a, int64_t max_b) {
  const Checks check("soft_align_backward", "f_a", f_a);
  const SoftAlignShape shape = soft_align_shape(check, f_a, f_b, a, b, cu_a, cu_b, max_a, max_b);
  for (const auto& [name, rows] : {std::pair{"grad_beta", &grad_beta}, {"beta", &beta}}) {
    check.shape_of("a", a, name, *rows);
    check.unit_stride(name, *rows);
  }
  for (const auto& [name, rows] : {std::pair{"grad_alpha", &grad_alpha}, {"alpha", &alpha}}) {
    check.shape_of("b", b, name, *rows);
    check.unit_stride(name, *rows);
  }
  check.tensor("stats_a", stats_a, stat_type(a), {2, shape.tokens_a});
  check.tensor("stats_b", stats_b, stat_type(a), {2, shape.tokens_b});
  Device::check_lengths(check, shape);
  const Device device(f_a);
  const Tensor grad_f_a = new_empty(f_a, f_a.sizes()), grad_f_b = new_empty(f_b, f_b.sizes()),
               grad_a = new_empty(a, a.sizes()), grad_b = new_empty(b, b.sizes());
  for_types<float, double, Bfloat16>(check.op, "f_a", f_a.scalar_type(), [&]<typename scalar_t>() {
    using stat_t = Stat<scalar_t>;
    device.run(SoftAlignBackwardParams<scalar_t, stat_t>{
        shape, align_rows<const scalar_t>(f_a), align_rows<const scalar_t>(f_b),
        align_rows<const scalar_t>(a), align_rows<const scalar_t>(b),
        align_rows<const scalar_t>(beta), align_rows<const scalar_t>(alpha),
        align_rows<const scalar_t>(grad_beta), align_rows<const scalar_t>(grad_alpha),
        data<const stat_t>(stats_a), data<const stat_t>(stats_b), align_rows<scalar_t>(grad_f_a),
        align_rows<scalar_t>(grad_f_b), align_rows<scalar_t>(grad_a),
        align_rows<scalar_t>(grad_b)});
  });
  return {grad_f_a, grad_f_b, grad_a, grad_b};
}

}  // namespace lexforge
