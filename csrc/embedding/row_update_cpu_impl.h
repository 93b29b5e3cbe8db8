// CPU kernels of row_update.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/embedding/row_update.py.
#include <cstdint>
#include <cstring>

#include "embedding/row_update.h"
// The instruction set applies from here on.
#include "common/simd.h"
// Needs simd.h.
#include "common/row_lanes.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

constexpr int64_t kAhead = 3;     // rows between a prefetch and its use
constexpr int64_t kSumAhead = 8;  // gradients

// ---- The rules ---------------------------------------------------------------------------------

// Each turns a register of a row's parameters p and gradient g, of n elements from d on, into the
// parameters after the step, and steps the state of that row. `squares` is a function: the mean of
// g g over the row.
template <typename L>
struct Sgd {
  using reg = typename L::reg;
  reg lr;
  template <typename Params, typename Squares>
  LEXFORGE_INLINE Sgd(const Params& params, int64_t, const Squares&)
      : lr(L::broadcast(static_cast<typename L::scalar>(params.lr))) {}
  LEXFORGE_INLINE reg update(int64_t, int64_t, reg p, reg g) const { return L::fnma(lr, g, p); }
};

template <typename L, bool kNesterov>
struct Momentum {
  using reg = typename L::reg;
  using S = RowValues<typename L::scalar>;
  typename L::scalar* m;
  reg lr, decay, fresh;
  template <typename Params, typename Squares>
  LEXFORGE_INLINE Momentum(const Params& params, int64_t row, const Squares&)
      : m(params.first + row * params.dim),
        lr(L::broadcast(static_cast<typename L::scalar>(params.lr))),
        decay(L::broadcast(static_cast<typename L::scalar>(params.decay1))),
        fresh(L::broadcast(static_cast<typename L::scalar>(params.fresh1))) {}
  LEXFORGE_INLINE reg update(int64_t d, int64_t n, reg p, reg g) const {
    const reg sum = L::fma(fresh, g, L::mul(decay, S::load(m + d, n)));
    S::store(m + d, sum, n);
    return L::fnma(lr, kNesterov ? L::fma(decay, sum, g) : sum, p);
  }
};

template <typename L>
struct Adagrad {
  using reg = typename L::reg;
  using S = RowValues<typename L::scalar>;
  typename L::scalar* sums;
  reg lr, epsilon;
  template <typename Params, typename Squares>
  LEXFORGE_INLINE Adagrad(const Params& params, int64_t row, const Squares&)
      : sums(params.first + row * params.dim),
        lr(L::broadcast(static_cast<typename L::scalar>(params.lr))),
        epsilon(L::broadcast(static_cast<typename L::scalar>(params.epsilon))) {}
  LEXFORGE_INLINE reg update(int64_t d, int64_t n, reg p, reg g) const {
    const reg sum = L::fma(g, g, S::load(sums + d, n));
    S::store(sums + d, sum, n);
    return L::fnma(lr, over_root<L>(g, sum, epsilon), p);
  }
};

template <typename L>
struct RowwiseAdagrad {
  using reg = typename L::reg;
  reg lr, sum, epsilon;
  template <typename Params, typename Squares>
  LEXFORGE_INLINE RowwiseAdagrad(const Params& params, int64_t row, const Squares& squares)
      : lr(L::broadcast(static_cast<typename L::scalar>(params.lr))),
        sum(L::broadcast(params.first[row] += squares())),
        epsilon(L::broadcast(static_cast<typename L::scalar>(params.epsilon))) {}
  LEXFORGE_INLINE reg update(int64_t, int64_t, reg p, reg g) const {
    return L::fnma(lr, over_root<L>(g, sum, epsilon), p);
  }
};

template <typename L>
struct Adam {
  using reg = typename L::reg;
  using S = RowValues<typename L::scalar>;
  typename L::scalar *m, *v;
  reg lr, decay1, fresh1, decay2, fresh2, epsilon;
  template <typename Params, typename Squares>
  LEXFORGE_INLINE Adam(const Params& params, int64_t row, const Squares&)
      : m(params.first + row * params.dim),
        v(params.second + row * params.dim),
        lr(L::broadcast(static_cast<typename L::scalar>(params.lr))),
        decay1(L::broadcast(static_cast<typename L::scalar>(params.decay1))),
        fresh1(L::broadcast(static_cast<typename L::scalar>(params.fresh1))),
        decay2(L::broadcast(static_cast<typename L::scalar>(params.decay2))),
        fresh2(L::broadcast(static_cast<typename L::scalar>(params.fresh2))),
        epsilon(L::broadcast(static_cast<typename L::scalar>(params.epsilon))) {}
  LEXFORGE_INLINE reg update(int64_t d, int64_t n, reg p, reg g) const {
    const reg first = L::fma(fresh1, g, L::mul(decay1, S::load(m + d, n)));
    const reg second = L::fma(L::mul(fresh2, g), g, L::mul(decay2, S::load(v + d, n)));
    S::store(m + d, first, n);
    S::store(v + d, second, n);
    return L::fnma(lr, over_root<L>(first, second, epsilon), p);
  }
};

// function.operator()<Rule>() for that of the params.
template <typename L, typename Function>
LEXFORGE_INLINE void with_rule(RowRule rule, const Function& function) {
  switch (rule) {
    case RowRule::kSgd:
      return function.template operator()<Sgd<L>>();
    case RowRule::kMomentum:
      return function.template operator()<Momentum<L, false>>();
    case RowRule::kNesterov:
      return function.template operator()<Momentum<L, true>>();
    case RowRule::kAdagrad:
      return function.template operator()<Adagrad<L>>();
    case RowRule::kRowwiseAdagrad:
      return function.template operator()<RowwiseAdagrad<L>>();
    case RowRule::kAdam:
      return function.template operator()<Adam<L>>();
  }
}

// ---- Rows --------------------------------------------------------------------------------------

// The step of one row, whose gradients' sum is `sum`; null where it does not occur.
template <typename Rule, typename scalar_t, typename stat_t>
LEXFORGE_INLINE void step_row(const RowUpdateParams<scalar_t, stat_t>& params, int64_t row,
                              const stat_t* sum) {
  using W = RowValues<scalar_t>;
  using S = RowValues<stat_t>;
  using L = typename W::lanes;
  using reg = typename L::reg;
  const int64_t dim = params.dim;
  scalar_t* weight = params.weight + row * dim;
  const reg decay = L::broadcast(static_cast<stat_t>(params.weight_decay));
  const auto gradient = [&](int64_t d, int64_t n, reg p) LEXFORGE_INLINED {
    return L::fma(decay, p, sum == nullptr ? L::zero() : S::load(sum + d, n));
  };
  const Rule rule(params, row, [&]() LEXFORGE_INLINED {
    reg squares = L::zero();
    for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
      const reg g = gradient(d, n, W::load(weight + d, n));
      squares = L::fma(g, g, squares);
    });
    return L::sum(squares) / static_cast<stat_t>(dim);
  });
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    const reg p = W::load(weight + d, n);
    W::store(weight + d, rule.update(d, n, p, gradient(d, n, p)), n);
  });
}

template <typename scalar_t, typename stat_t>
LEXFORGE_INLINE void prefetch_step(const RowUpdateParams<scalar_t, stat_t>& params, int64_t row) {
  const int64_t dim = params.dim;
  prefetch_row(params.weight + row * dim, dim);
  if (params.rule == RowRule::kRowwiseAdagrad) {
    __builtin_prefetch(params.first + row, 0, 3);
  } else if (params.first != nullptr) {
    prefetch_row(params.first + row * dim, dim);
  }
  if (params.second != nullptr) prefetch_row(params.second + row * dim, dim);
}

}  // namespace

// Gradients lie anywhere: those of the next members, also of the next sums, are on their way while
// a sum is made.
template <typename from_t, typename scalar_t, typename stat_t>
void row_update_sums(const RowUpdateParams<scalar_t, stat_t>& params,
                     const RowUpdateSums<from_t, stat_t>& sums, int64_t first, int64_t last,
                     stat_t* sum) {
  using L = typename RowValues<stat_t>::lanes;
  const int64_t dim = params.dim, all = sums.begin[sums.count];
  with_rule<L>(params.rule, [&]<typename Rule>() {
    for (int64_t j = first; j < last; ++j) {
      if (j + kAhead < last && sums.target[j + kAhead] >= 0) {
        prefetch_step(params, sums.target[j + kAhead]);
      }
      const int64_t begin = sums.begin[j], end = sums.begin[j + 1];
      for (int64_t m = begin + kSumAhead; m < end + kSumAhead && m < all; ++m) {
        prefetch_row(sums.from + sums.members[m] * dim, dim);
      }
      const int64_t row = sums.target[j];
      stat_t* to = row >= 0 ? sum : sums.partial + ~row * dim;
      const int32_t* members = sums.members + begin;
      weighted_rows<L>(
          dim, end - begin,
          [&](int64_t m) LEXFORGE_INLINED { return sums.from + members[m] * dim; },
          [](int64_t) LEXFORGE_INLINED { return stat_t(1); },
          [&](int64_t d, int64_t n, typename L::reg x)
              LEXFORGE_INLINED { RowValues<stat_t>::store(to + d, x, n); });
      if (row < 0) continue;
      step_row<Rule, scalar_t, stat_t>(params, row, sum);
      if (params.touched != nullptr) params.touched[row] = kRowDone;
    }
  });
}

template <typename scalar_t, typename stat_t>
void row_update_rest(const RowUpdateParams<scalar_t, stat_t>& params, int64_t first, int64_t last) {
  uint8_t* touched = params.touched;
  const bool all = params.weight_decay != 0, some = all || has_momentum(params.rule);
  with_rule<typename RowValues<stat_t>::lanes>(params.rule, [&]<typename Rule>() {
    for (int64_t row = first; row < last; ++row) {
      uint64_t eight = 1;
      if (!all && row + 8 <= last) std::memcpy(&eight, touched + row, sizeof eight);
      if (eight == 0) {
        row += 7;
        continue;
      }
      const bool done = touched[row] == kRowDone;
      const bool moves = !done && (all || (some && touched[row] == kRowTouched));
      if (moves) step_row<Rule, scalar_t, stat_t>(params, row, nullptr);
      if (moves || done) touched[row] = kRowTouched;
    }
  });
}

#define LEXFORGE_INSTANTIATE(from_t, scalar_t, stat_t)                    \
  template void row_update_sums(const RowUpdateParams<scalar_t, stat_t>&, \
                                const RowUpdateSums<from_t, stat_t>&, int64_t, int64_t, stat_t*);
LEXFORGE_INSTANTIATE(float, float, float)
LEXFORGE_INSTANTIATE(double, double, double)
LEXFORGE_INSTANTIATE(Bfloat16, Bfloat16, float)
LEXFORGE_INSTANTIATE(float, Bfloat16, float)
#undef LEXFORGE_INSTANTIATE
template void row_update_rest(const RowUpdateParams<float, float>&, int64_t, int64_t);
template void row_update_rest(const RowUpdateParams<double, double>&, int64_t, int64_t);
template void row_update_rest(const RowUpdateParams<Bfloat16, float>&, int64_t, int64_t);

}  // namespace lexforge::LEXFORGE_ISA
