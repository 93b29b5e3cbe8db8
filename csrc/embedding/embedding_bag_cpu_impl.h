// CPU kernels of embedding_bag.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/embedding/embedding_bag.py.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "embedding/embedding_bag.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/row_lanes.h"

namespace lexforge::LEXFORGE_ISA {

// Rows lie anywhere in the table, where no hardware sees them coming.
constexpr int64_t kRowsAhead = 8;

// ---- Sums of rows ------------------------------------------------------------------------------

// The weighted sum of rows that come one by one: kChunk at a time in registers, more than those in
// `total`, the workspace.
template <typename from_t, typename stat_t>
class RowsSum {
  using L = typename RowValues<stat_t>::lanes;
  using S = RowValues<stat_t>;

 public:
  LEXFORGE_INLINE RowsSum(int64_t dim, stat_t* total) : dim_(dim), total_(total) {}

  LEXFORGE_INLINE void add(const from_t* row, stat_t weight) {
    if (held_ == kChunk) {
      const bool first = chunks_ == 0;
      hold([&](int64_t d, int64_t n, typename L::reg sum) {
        S::store(total_ + d, first ? sum : L::add(S::load(total_ + d, n), sum), n);
      });
      ++chunks_;
      held_ = 0;
    }
    rows_[held_] = row;
    weights_[held_++] = weight;
  }

  // to = factor times the sum.
  template <typename to_t>
  LEXFORGE_INLINE void finish(to_t* to, stat_t factor) {
    const auto times = L::broadcast(factor);
    hold([&](int64_t d, int64_t n, typename L::reg sum) {
      if (chunks_ > 0) sum = L::add(S::load(total_ + d, n), sum);
      RowValues<to_t>::store(to + d, L::mul(times, sum), n);
    });
  }

 private:
  template <typename Finish>
  LEXFORGE_INLINE void hold(const Finish& finish) const {
    weighted_rows<L>(
        dim_, held_, [&](int64_t i) { return rows_[i]; }, [&](int64_t i) { return weights_[i]; },
        finish);
  }

  const int64_t dim_;
  stat_t* const total_;
  const from_t* rows_[kChunk];
  stat_t weights_[kChunk];
  int64_t held_ = 0, chunks_ = 0;
};

template <typename stat_t>
int64_t embedding_bag_workspace(int64_t dim) {
  return (dim * static_cast<int64_t>(sizeof(stat_t)) + 63) / 64 * 64;
}

// ---- Forward -----------------------------------------------------------------------------------

// Columns of a maximum that are kept at once.
constexpr int64_t kColumns = 64;

// The first `n` numbers of a row.
template <typename scalar_t, typename stat_t>
LEXFORGE_INLINE void load_columns(const scalar_t* row, int64_t n, stat_t (&to)[kColumns]) {
  using V = RowValues<scalar_t>;
  for_registers<typename V::lanes>(
      n, [&](int64_t d, int64_t m) { V::lanes::store_any(to + d, V::load(row + d, m)); });
}
template <typename scalar_t, typename stat_t>
LEXFORGE_INLINE void store_columns(scalar_t* row, int64_t n, const stat_t (&from)[kColumns]) {
  using V = RowValues<scalar_t>;
  for_registers<typename V::lanes>(
      n, [&](int64_t d, int64_t m) { V::store(row + d, V::lanes::load_any(from + d), m); });
}

template <typename scalar_t, typename stat_t>
LEXFORGE_INLINE void bag_maximum(const EmbeddingBagParams<scalar_t, stat_t>& params, int64_t b) {
  const Bags& bags = params.bags;
  const int64_t begin = bags[b], end = bags[b + 1], dim = params.dim;
  for (int64_t from = 0; from < dim; from += kColumns) {
    const int64_t n = dim - from < kColumns ? dim - from : kColumns;
    stat_t best[kColumns] = {}, x[kColumns];
    int32_t choice[kColumns];
    for (int64_t d = 0; d < kColumns; ++d) choice[d] = -1;
    bool first = true;
    for (int64_t i = begin; i < end; ++i) {
      if (bags.ids[i] == bags.padding) continue;
      load_columns(params.table + bags.ids[i] * dim + from, n, x);
      for (int64_t d = 0; d < n; ++d) {
        const bool better = first || x[d] > best[d];
        best[d] = better ? x[d] : best[d];
        choice[d] = better ? static_cast<int32_t>(i) : choice[d];
      }
      first = false;
    }
    store_columns(params.out + b * dim + from, n, best);
    std::memcpy(params.choice + b * dim + from, choice, n * sizeof(int32_t));
  }
}

template <typename scalar_t, typename stat_t>
void embedding_bag(const EmbeddingBagParams<scalar_t, stat_t>& params, int64_t first_bag,
                   int64_t last, void* workspace) {
  const Bags& bags = params.bags;
  const int64_t dim = params.dim, last_id = bags[last];
  const auto row = [&](int64_t i) { return params.table + bags.ids[i] * dim; };
  const auto prefetch = [&](int64_t i) {
    if (i + kRowsAhead < last_id) prefetch_row(row(i + kRowsAhead), dim);
  };
  for (int64_t b = first_bag; b < last; ++b) {
    const int64_t begin = bags[b], end = bags[b + 1];
    scalar_t* out = params.out + b * dim;
    if (params.mode == BagMode::kLookup) {
      prefetch(begin);
      std::memcpy(out, row(begin), dim * sizeof(scalar_t));
      continue;
    }
    if (params.mode == BagMode::kMax) {
      bag_maximum(params, b);
      continue;
    }
    RowsSum<scalar_t, stat_t> sum(dim, static_cast<stat_t*>(workspace));
    int64_t count = 0;
    for (int64_t i = begin; i < end; ++i) {
      prefetch(i);
      if (bags.ids[i] == bags.padding) continue;
      sum.add(row(i), params.weights != nullptr ? params.weights[i] : stat_t(1));
      ++count;
    }
    stat_t factor = 1;
    if (params.mode == BagMode::kMean) {
      factor = count > 0 ? 1 / static_cast<stat_t>(count) : stat_t(0);
      params.scale[b] = factor;
    }
    sum.finish(out, factor);
  }
}

// ---- Backward ----------------------------------------------------------------------------------

// Of a maximum: the numbers that were chosen.
template <typename from_t, typename to_t, typename stat_t>
LEXFORGE_INLINE void chosen_sum(const BagGradient<from_t, stat_t>& gradient, const int32_t* members,
                                int64_t count, to_t* to) {
  const int64_t dim = gradient.dim;
  for (int64_t from = 0; from < dim; from += kColumns) {
    const int64_t n = dim - from < kColumns ? dim - from : kColumns;
    stat_t sum[kColumns] = {}, x[kColumns];
    for (int64_t m = 0; m < count; ++m) {
      const int64_t place = gradient.bag[members[m]] * dim + from;
      const int32_t* choice = gradient.choice + place;
      load_columns(gradient.from + place, n, x);
      for (int64_t d = 0; d < n; ++d) sum[d] += choice[d] == members[m] ? x[d] : stat_t(0);
    }
    store_columns(to + from, n, sum);
  }
}

template <typename from_t, typename to_t, typename stat_t>
void embedding_bag_sums(const EmbeddingBagSums<from_t, to_t, stat_t>& sums, int64_t first_sum,
                        int64_t last, void* workspace) {
  const BagGradient<from_t, stat_t>& gradient = sums.gradient;
  const int64_t dim = gradient.dim, last_member = sums.begin[last];
  const auto row = [&](int32_t i) -> int64_t {
    return gradient.bag != nullptr ? gradient.bag[i] : i;
  };
  for (int64_t j = first_sum; j < last; ++j) {
    const int64_t target = sums.target[j];
    const int32_t* members = sums.members + sums.begin[j];
    const int64_t count = sums.begin[j + 1] - sums.begin[j];
    if (gradient.choice != nullptr) {
      if (target >= 0) {
        chosen_sum(gradient, members, count, sums.to + target * dim);
      } else {
        chosen_sum(gradient, members, count, sums.partial + ~target * dim);
      }
      continue;
    }
    RowsSum<from_t, stat_t> sum(dim, static_cast<stat_t*>(workspace));
    for (int64_t m = sums.begin[j]; m < sums.begin[j + 1]; ++m) {
      if (m + kRowsAhead < last_member) {
        prefetch_row(gradient.from + row(sums.members[m + kRowsAhead]) * dim, dim);
      }
      const int32_t i = sums.members[m];
      const int64_t from = row(i);
      stat_t weight = 1;
      if (gradient.weights != nullptr) weight = gradient.weights[i];
      if (gradient.scale != nullptr) weight = gradient.scale[from];
      sum.add(gradient.from + from * dim, weight);
    }
    if (target >= 0) {
      sum.finish(sums.to + target * dim, sums.factor != nullptr ? sums.factor[j] : stat_t(1));
    } else {
      sum.finish(sums.partial + ~target * dim, stat_t(1));
    }
  }
}

template <typename scalar_t, typename stat_t>
void embedding_bag_weights(const EmbeddingBagWeightsParams<scalar_t, stat_t>& params,
                           int64_t first_bag, int64_t last) {
  using V = RowValues<scalar_t>;
  using L = typename V::lanes;
  const Bags& bags = params.bags;
  const int64_t dim = params.dim, last_id = bags[last];
  for (int64_t b = first_bag; b < last; ++b) {
    const scalar_t* grad = params.grad_out + b * dim;
    for (int64_t i = bags[b]; i < bags[b + 1]; ++i) {
      if (i + kRowsAhead < last_id) {
        prefetch_row(params.table + bags.ids[i + kRowsAhead] * dim, dim);
      }
      if (bags.ids[i] == bags.padding) continue;
      const scalar_t* row = params.table + bags.ids[i] * dim;
      auto sum = L::zero();
      for_registers<L>(dim, [&](int64_t d, int64_t n) {
        sum = L::fma(V::load(grad + d, n), V::load(row + d, n), sum);
      });
      params.grad[i] = L::sum(sum);
    }
  }
}

// ---- Renormalisation ---------------------------------------------------------------------------

// The sum of f of a row's numbers. What a last register has too many is f(0) = 0.
template <typename scalar_t, typename F>
LEXFORGE_INLINE double row_sum(const scalar_t* row, int64_t dim, const F& f) {
  using V = RowValues<scalar_t>;
  using L = typename V::lanes;
  auto total = L::zero();
  for_registers<L>(dim,
                   [&](int64_t d, int64_t n) { total = L::add(total, f(V::load(row + d, n))); });
  return L::sum(total);
}

template <typename L>
struct Absolute {
  LEXFORGE_INLINE typename L::reg operator()(typename L::reg x) const {
    return L::max(x, L::sub(L::zero(), x));
  }
};
template <typename L>
struct Square {
  LEXFORGE_INLINE typename L::reg operator()(typename L::reg x) const { return L::mul(x, x); }
};

template <typename scalar_t>
LEXFORGE_INLINE double row_norm(const scalar_t* row, int64_t dim, double p) {
  using L = typename RowValues<scalar_t>::lanes;
  if (p == 2) return std::sqrt(row_sum(row, dim, Square<L>()));
  if (p == 1) return row_sum(row, dim, Absolute<L>());
  double total = 0;
  for_registers<L>(dim, [&](int64_t d, int64_t n) {
    typename L::scalar x[L::kWidth];
    L::store_any(x, RowValues<scalar_t>::load(row + d, n));
    for (int64_t i = 0; i < n; ++i) {
      const double size = std::fabs(static_cast<double>(x[i]));
      if (!std::isinf(p)) {
        total += std::pow(size, p);
      } else if (size > total || std::isnan(size)) {
        total = size;  // once it is not a number nothing is above it
      }
    }
  });
  return std::isinf(p) ? total : std::pow(total, 1 / p);
}

template <typename scalar_t>
void embedding_renorm(const EmbeddingRenormParams<scalar_t>& params, const int32_t* rows,
                      int64_t first_row, int64_t last) {
  using V = RowValues<scalar_t>;
  using L = typename V::lanes;
  const int64_t dim = params.dim;
  for (int64_t r = first_row; r < last; ++r) {
    if (r + 2 < last) prefetch_row(params.table + rows[r + 2] * dim, dim);
    scalar_t* row = params.table + rows[r] * dim;
    const double norm = row_norm(row, dim, params.norm_type);
    if (!(norm > params.max_norm)) continue;
    const auto factor =
        L::broadcast(static_cast<typename L::scalar>(params.max_norm / (norm + kRenormEpsilon)));
    for_registers<L>(dim, [&](int64_t d, int64_t n) {
      V::store(row + d, L::mul(factor, V::load(row + d, n)), n);
    });
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                     \
  template void embedding_bag(const EmbeddingBagParams<scalar_t, stat_t>&, int64_t, int64_t,       \
                              void*);                                                              \
  template void embedding_bag_weights(const EmbeddingBagWeightsParams<scalar_t, stat_t>&, int64_t, \
                                      int64_t);                                                    \
  template void embedding_bag_sums(const EmbeddingBagSums<scalar_t, scalar_t, stat_t>&, int64_t,   \
                                   int64_t, void*);                                                \
  template void embedding_renorm(const EmbeddingRenormParams<scalar_t>&, const int32_t*, int64_t,  \
                                 int64_t);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE
template void embedding_bag_sums(const EmbeddingBagSums<float, Bfloat16, float>&, int64_t, int64_t,
                                 void*);
template int64_t embedding_bag_workspace<float>(int64_t);
template int64_t embedding_bag_workspace<double>(int64_t);

}  // namespace lexforge::LEXFORGE_ISA
