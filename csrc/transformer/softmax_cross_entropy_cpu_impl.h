// CPU kernels of softmax_cross_entropy.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/transformer/linear_cross_entropy.py.
//
// A row is gone through three times: its largest entry, its exponentials and their sum, the
// gradient. In between it lies in the second-level cache, as float in the workspace if it is stored
// as bfloat16.
#include <type_traits>

#include "common/bfloat16.h"
#include "transformer/softmax_cross_entropy.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Sums and maxima that go on side by side, since one has to wait for the one before.
constexpr int64_t kSideBySide = 4;

template <typename L>
LEXFORGE_INLINE typename L::scalar largest_lane(typename L::reg x) {
  typename L::scalar lane[L::kWidth];
  L::store_any(lane, x);
  typename L::scalar largest = lane[0];
  for (int64_t i = 1; i < L::kWidth; ++i) largest = lane[i] > largest ? lane[i] : largest;
  return largest;
}

// visit(j, n, k) for the registers of [0, count): n numbers from j on, k = 0 .. kSideBySide - 1 in
// turn.
template <typename L, typename Visit>
LEXFORGE_INLINE void by_turns(int64_t count, const Visit& visit) {
  constexpr int64_t kStep = kSideBySide * L::kWidth;
  int64_t j = 0;
  for (; j + kStep <= count; j += kStep) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < kSideBySide; ++k) visit(j + k * L::kWidth, L::kWidth, k);
  }
  for (; j < count; j += L::kWidth) visit(j, count - j, 0);
}

// exp(x) for x <= 0, 0 below -60; NaN stays.
template <typename L>
LEXFORGE_INLINE typename L::reg exp_or_zero(typename L::reg x) {
  if constexpr (L::kWidth == 1) {
    return Numerics<L>::exp(x);
  } else {
    return L::select_negative(L::add(x, L::broadcast(60)), L::zero(), Numerics<L>::exp(x));
  }
}

// The entries of z beyond its end are taken for the lowest number.
template <typename L>
LEXFORGE_INLINE typename L::reg load_or_lowest(const typename L::scalar* z, int64_t n) {
  if (n >= L::kWidth) return L::load_any(z);
  typename L::scalar lane[L::kWidth];
  for (int64_t i = 0; i < L::kWidth; ++i) lane[i] = i < n ? z[i] : z[0];
  return L::load_any(lane);
}

template <typename L>
LEXFORGE_INLINE typename L::scalar largest(const typename L::scalar* z, int64_t count) {
  typename L::reg most[kSideBySide];
  for (auto& x : most) x = L::broadcast(-__builtin_inf());
  by_turns<L>(count, [&](int64_t j, int64_t n, int64_t k) {
    most[k] = L::max(load_or_lowest<L>(z + j, n), most[k]);
  });
  return largest_lane<L>(L::max(L::max(most[0], most[1]), L::max(most[2], most[3])));
}

}  // namespace

template <typename scalar_t, typename stat_t>
void softmax_cross_entropy(const SoftmaxCrossEntropyParams<scalar_t, stat_t>& params,
                           int64_t first_row, int64_t last, stat_t* workspace) {
  using Row = RowValues<scalar_t>;
  using Work = RowValues<stat_t>;
  using L = typename Row::lanes;
  using reg = typename L::reg;
  const int64_t classes = params.classes;
  for (int64_t r = first_row; r < last; ++r) {
    scalar_t* logits = params.logits + r * classes;
    const stat_t scale = params.scale[r];
    if (scale == 0) {
      params.loss[r] = 0;
      params.correct[r] = 0;
      if (params.gradient) {
        std::memset(logits, 0, static_cast<size_t>(classes) * sizeof *logits);
      }
      continue;
    }
    stat_t* z = workspace;
    if constexpr (std::is_same_v<scalar_t, stat_t>) z = logits;

    if (params.bias != nullptr || !std::is_same_v<scalar_t, stat_t>) {
      const stat_t* bias = params.bias;
      by_turns<L>(classes, [&](int64_t j, int64_t n, int64_t) {
        reg x = Row::load(logits + j, n);
        if (bias != nullptr) x = L::add(x, Work::load(bias + j, n));
        Work::store(z + j, x, n);
      });
    }
    const stat_t most = largest<L>(z, classes);
    const int64_t label = params.labels[r];
    const stat_t of_label = z[label];
    params.correct[r] = of_label == most && !(largest<L>(z, label) == most);

    const reg shift = L::broadcast(most);
    reg sum[kSideBySide];
    for (auto& x : sum) x = L::zero();
    by_turns<L>(classes, [&](int64_t j, int64_t n, int64_t k) {
      const reg e = exp_or_zero<L>(L::sub(Work::load(z + j, n), shift));
      Work::store(z + j, e, n);
      if (n < L::kWidth) {
        sum[k] = L::add(sum[k], Work::load(z + j, n));
      } else {
        sum[k] = L::add(sum[k], e);
      }
    });
    const stat_t total = L::sum(L::add(L::add(sum[0], sum[1]), L::add(sum[2], sum[3])));
    params.loss[r] = scale * (std::log(total) + (most - of_label));

    if (params.gradient) {
      const stat_t share = scale / total;
      const stat_t at_label = share * z[label] - scale;
      const reg factor = L::broadcast(share);
      by_turns<L>(classes, [&](int64_t j, int64_t n, int64_t) {
        Row::store(logits + j, L::mul(factor, Work::load(z + j, n)), n);
      });
      Row::store(logits + label, L::broadcast(at_label), 1);
    }
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                     \
  template void softmax_cross_entropy(const SoftmaxCrossEntropyParams<scalar_t, stat_t>&, int64_t, \
                                      int64_t, stat_t*);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(Bfloat16, float)
LEXFORGE_INSTANTIATE(double, double)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
