// Body of the GloVe kernel for one instruction set (contract: glove_train.h).
// Start with pyext/lexforge/reference/glove/glove_train.py.
//
// The bias takes part in the vector operations: in the last block of a row, where it lies, the
// other side's elements are replaced by 1 at the bias and by 0 after it (Tail), so that its term of
// the product and its gradient come out like those of the vector.
#include <cmath>
#include <cstdint>

#include "glove/glove_train_cpu.h"
// The instruction set applies from here on.
#include "common/simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

constexpr int64_t kChunk = 256;  // entries whose weights are computed together
constexpr int64_t kLineBytes = 64;
// Records are fetched this far ahead of their use. Entries per second on real counts were best at
// 12 to 16 entries of 900 bytes and at 4 of 2400; both lie well within the first-level cache.
constexpr int64_t kBytesAhead = 12 * 1024;

// Masks of the last block: the bias lies in lane D mod W.
template <typename L>
struct Tail {
  using scalar_t = typename L::scalar;
  typename L::reg keep, one, pad, rate;

  Tail(int64_t dim, scalar_t bias_rate) {
    alignas(64) scalar_t lanes[4][L::kWidth];
    for (int64_t i = 0; i < L::kWidth; ++i) {
      lanes[0][i] = i < dim % L::kWidth;
      lanes[1][i] = i == dim % L::kWidth;
      lanes[2][i] = i > dim % L::kWidth;
      lanes[3][i] = i == dim % L::kWidth ? bias_rate : scalar_t(1);
    }
    keep = L::load(lanes[0]);
    one = L::load(lanes[1]);
    pad = L::load(lanes[2]);
    rate = L::load(lanes[3]);
  }

  // The vector's elements, 1 at the bias, 0 after it.
  LEXFORGE_INLINE typename L::reg factor(typename L::reg x) const { return L::fma(x, keep, one); }
};

// The optimisers: what one row of either table does with its gradient, a block at a time.
template <typename L>
struct AdaGrad {
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;
  static constexpr int64_t kParts = 2;
  struct Rates {
    explicit Rates(const GloveTrainParams<scalar_t>&, const GloveAdam<scalar_t>&) {}
  };
  scalar_t *p, *a;
  AdaGrad(scalar_t* record, int64_t stride, int64_t, const Rates&)
      : p(record), a(record + stride) {}
  LEXFORGE_INLINE void update(int64_t d, reg x, reg g, reg pad) {
    const reg sum = L::load(a + d);
    L::store(p + d, L::fnma(g, inverse_root<L>(L::add(sum, pad)), x));
    L::store(a + d, L::fma(g, g, sum));
  }
  LEXFORGE_INLINE void finish() {}
};

template <typename L>
struct RowwiseAdaGrad {
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;
  static constexpr int64_t kParts = 1;
  struct Rates {
    scalar_t share;
    explicit Rates(const GloveTrainParams<scalar_t>& params, const GloveAdam<scalar_t>&)
        : share(scalar_t(1) / static_cast<scalar_t>(params.dim + 1)) {}
  };
  scalar_t *p, *a, share;
  reg rate, squares = L::zero();
  RowwiseAdaGrad(scalar_t* record, int64_t, int64_t dim, const Rates& rates)
      : p(record),
        a(record + dim + 1),
        share(rates.share),
        rate(inverse_root<L>(L::broadcast(*a))) {}
  LEXFORGE_INLINE void update(int64_t d, reg x, reg g, reg) {
    L::store(p + d, L::fnma(g, rate, x));
    squares = L::fma(g, g, squares);
  }
  LEXFORGE_INLINE void finish() { *a += L::sum(squares) * share; }
};

template <typename L>
struct Adam {
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;
  static constexpr int64_t kParts = 3;
  struct Rates {
    const GloveAdam<scalar_t>& adam;
    reg decay1, decay2, fresh1, fresh2;
    Rates(const GloveTrainParams<scalar_t>& params, const GloveAdam<scalar_t>& given)
        : adam(given),
          decay1(L::broadcast(static_cast<scalar_t>(params.beta1))),
          decay2(L::broadcast(static_cast<scalar_t>(params.beta2))),
          fresh1(L::broadcast(static_cast<scalar_t>(1 - params.beta1))),
          fresh2(L::broadcast(static_cast<scalar_t>(1 - params.beta2))) {}
    GloveAdamStep<scalar_t> step(scalar_t t) const {
      // A count that is no number in range (a foreign table) counts as settled.
      if (t >= 1 && t <= GloveAdam<scalar_t>::kSteps) {
        return adam.steps[static_cast<int64_t>(t) - 1];
      }
      if (t >= 1 && t < static_cast<scalar_t>(adam.settled)) return glove_adam_step(adam, t);
      return {static_cast<scalar_t>(adam.learning_rate), static_cast<scalar_t>(adam.epsilon)};
    }
  };
  scalar_t *p, *m, *v, *count;
  const Rates& rates;
  reg size, epsilon;
  Adam(scalar_t* record, int64_t stride, int64_t dim, const Rates& given)
      : p(record),
        m(record + stride),
        v(record + 2 * stride),
        count(record + dim + 1),
        rates(given) {
    const GloveAdamStep<scalar_t> step = rates.step(*count + 1);
    size = L::broadcast(step.size);
    epsilon = L::broadcast(step.epsilon);
  }
  LEXFORGE_INLINE void update(int64_t d, reg x, reg g, reg) {
    const reg first = L::fma(rates.fresh1, g, L::mul(rates.decay1, L::load(m + d)));
    const reg second = L::fma(L::mul(rates.fresh2, g), g, L::mul(rates.decay2, L::load(v + d)));
    L::store(m + d, first);
    L::store(v + d, second);
    L::store(p + d, L::fnma(size, over_root<L>(first, second, epsilon), x));
  }
  LEXFORGE_INLINE void finish() { *count += 1; }
};

template <typename L, template <typename> class Optimizer>
class TileTrainer {
 public:
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;
  using Row = Optimizer<L>;
  static constexpr int64_t W = L::kWidth;

  TileTrainer(const GloveTrainParams<scalar_t>& params, const GloveAdam<scalar_t>& adam)
      : params_(params),
        tail_(params.dim, static_cast<scalar_t>(params.bias_rate)),
        rates_(params, adam),
        record_(Row::kParts * params.stride),
        ahead_(1 + kBytesAhead / (record_ * static_cast<int64_t>(sizeof(scalar_t)))),
        last_(params.dim / W * W),
        // AdaGrad has the learning rate inside the gradient, Adam has not.
        scale_(static_cast<scalar_t>(
            params.optimizer == GloveOptimizer::kAdam ? 1 : params.learning_rate)),
        limit_(L::broadcast(static_cast<scalar_t>(scale_ == 0 ? 0 : scale_ * params.clip))) {}

  bool train(int64_t tile, double* cost) {
    const GloveTiles& tiles = params_.tiles;
    const int64_t first = tiles.tile_begin[tile], last = tiles.tile_begin[tile + 1];
    if (!rises(first, last)) return false;
    *cost = 0;
    const int64_t end = tiles.segment_begin[last];
    int64_t e = tiles.segment_begin[first], ready = e;
    int64_t row_ahead = first;
    for (int64_t s = first; s < last; ++s) {
      scalar_t* row = params_.word_table + tiles.segment_row[s] * record_;
      for (; e < tiles.segment_begin[s + 1]; ++e) {
        if (e == ready) {
          const int64_t count = end - e < kChunk ? end - e : kChunk;
          if (!prepare(e, count)) return false;
          ready += count;
        }
        if (e + ahead_ < end) prefetch(params_.context_table, tiles.column[e + ahead_]);
        if (row_ahead < last && tiles.segment_begin[row_ahead] <= e + ahead_) {
          prefetch(params_.word_table, tiles.segment_row[row_ahead++]);
        }
        *cost +=
            entry(row, params_.context_table + tiles.column[e] * record_,
                  static_cast<scalar_t>(tiles.log_count[e]), weight_[(e - ready) & (kChunk - 1)]);
      }
    }
    return true;
  }

 private:
  LEXFORGE_INLINE void prefetch(const scalar_t* table, int64_t row) const {
    const char* record = reinterpret_cast<const char*>(table + row * record_);
    const int64_t bytes = record_ * static_cast<int64_t>(sizeof(scalar_t));
    for (int64_t at = 0; at < bytes; at += kLineBytes) __builtin_prefetch(record + at, 1, 3);
  }

  // Whether the tile's segments and rows are in range.
  bool rises(int64_t first, int64_t last) const {
    const GloveTiles& tiles = params_.tiles;
    if (first < 0 || first > last || last > tiles.segments) return false;
    const int64_t* begin = tiles.segment_begin;
    bool good = begin[first] >= 0 && begin[last] <= tiles.entries;
    for (int64_t s = first; s < last; ++s) {
      good &= begin[s] <= begin[s + 1];
      good &= static_cast<uint32_t>(tiles.segment_row[s]) < params_.vocab_size;
    }
    return good;
  }

  // Weights h(x) of the entries [e, e + count); false when a column is out of range.
  bool prepare(int64_t e, int64_t count) {
    const int32_t* column = params_.tiles.column + e;
    const float* log_count = params_.tiles.log_count + e;
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t c = static_cast<uint32_t>(column[i]);
      largest = c > largest ? c : largest;
    }
    if (largest >= params_.vocab_size) return false;
    const scalar_t alpha = static_cast<scalar_t>(params_.alpha);
    const scalar_t log_x_max = static_cast<scalar_t>(std::log(params_.x_max));
    scalar_t* weight = weight_ + kChunk - count;
    for (int64_t i = 0; i < count; ++i) {
      const scalar_t x = alpha * (static_cast<scalar_t>(log_count[i]) - log_x_max);
      weight[i] = x < 0 ? x : 0;
    }
    for (int64_t i = (kChunk - count) / W * W; i < kChunk; i += W) {
      L::store(weight_ + i, Numerics<L>::exp(L::load(weight_ + i)));
    }
    return true;
  }

  // Trains one entry; returns its cost.
  LEXFORGE_INLINE double entry(scalar_t* row, scalar_t* col, scalar_t log_x, scalar_t weight) {
    reg sum[4] = {L::zero(), L::zero(), L::zero(), L::zero()};
    int64_t d = 0;
    for (; d + 4 * W <= last_; d += 4 * W) {
      for (int i = 0; i < 4; ++i) {
        sum[i] = L::fma(L::load(row + d + i * W), L::load(col + d + i * W), sum[i]);
      }
    }
    for (int i = 0; d < last_; d += W, ++i) {
      sum[i] = L::fma(L::load(row + d), L::load(col + d), sum[i]);
    }
    sum[3] = L::fma(L::load(row + last_), tail_.factor(L::load(col + last_)), sum[3]);
    const scalar_t product = L::sum(L::add(L::add(sum[0], sum[1]), L::add(sum[2], sum[3])));
    const scalar_t error = product + (col[params_.dim] - log_x);
    const scalar_t weighted = weight * error;
    const reg g = L::broadcast(scale_ * weighted);

    Row focal(row, params_.stride, params_.dim, rates_);
    Row context(col, params_.stride, params_.dim, rates_);
    for (d = 0; d < last_; d += W) {
      const reg w = L::load(row + d), c = L::load(col + d);
      focal.update(d, w, clipped(L::mul(g, c)), L::zero());
      context.update(d, c, clipped(L::mul(g, w)), L::zero());
    }
    const reg w = L::load(row + last_), c = L::load(col + last_);
    focal.update(last_, w, L::mul(tail_.rate, clipped(L::mul(g, tail_.factor(c)))), tail_.pad);
    context.update(last_, c, L::mul(tail_.rate, clipped(L::mul(g, tail_.factor(w)))), tail_.pad);
    focal.finish();
    context.finish();
    return 0.5 * static_cast<double>(weighted) * static_cast<double>(error);
  }

  LEXFORGE_INLINE reg clipped(reg g) const {
    return L::max(L::min(g, limit_), L::sub(L::zero(), limit_));
  }

  const GloveTrainParams<scalar_t>& params_;
  const Tail<L> tail_;
  const typename Row::Rates rates_;
  const int64_t record_;  // elements of a record
  const int64_t ahead_;   // entries between the prefetch of a record and its use
  const int64_t last_;    // where the last block begins
  const scalar_t scale_;
  const reg limit_;
  alignas(64) scalar_t weight_[kChunk] = {};  // of the entries before `ready`
};

template <typename L>
bool train_tile(const GloveTrainParams<typename L::scalar>& params,
                const GloveAdam<typename L::scalar>& adam, int64_t tile, double* cost) {
  switch (params.optimizer) {
    case GloveOptimizer::kAdaGrad:
      return TileTrainer<L, AdaGrad>(params, adam).train(tile, cost);
    case GloveOptimizer::kRowwiseAdaGrad:
      return TileTrainer<L, RowwiseAdaGrad>(params, adam).train(tile, cost);
    case GloveOptimizer::kAdam:
      return TileTrainer<L, Adam>(params, adam).train(tile, cost);
  }
  return false;
}

}  // namespace

#ifdef LEXFORGE_ISA_BASELINE
bool glove_train_tile_double(const GloveTrainParams<double>& params, const GloveAdam<double>& adam,
                             int64_t tile, double* cost) {
  return train_tile<ScalarLanes<double>>(params, adam, tile, cost);
}
#endif

bool glove_train_tile(const GloveTrainParams<float>& params, const GloveAdam<float>& adam,
                      int64_t tile, double* cost) {
  return train_tile<FloatLanes>(params, adam, tile, cost);
}

}  // namespace lexforge::LEXFORGE_ISA
