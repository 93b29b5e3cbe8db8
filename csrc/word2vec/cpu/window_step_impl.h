// The arithmetic of one window: the rows of a plan's window in, the same rows out.
// A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "word2vec/cpu/plan_impl.h"
#include "word2vec/cpu/sums_impl.h"
#include "word2vec/cpu/table_lanes_impl.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// The step on a window, in three passes over its rows: dot products, errors, updates. Rows are what
// rows are stored as, Lanes the lanes of their numbers, E those of errors. kStride is the row length
// where it is known when compiling (then loops over a row are unrolled), else 0.
//
// Targets are handled a tile at a time: as many accumulators hide the latency of a dot product, and
// one load of the input row serves them all. An input is a context's row, or with CBOW and with bags
// what gather() makes of all those of the window's pool.
template <typename Lanes, typename E, int kStride, typename Rows>
class WindowStep {
 public:
  using L = TableLanes<Lanes, Rows>;
  using row_t = typename L::row;
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;

  WindowStep(const Word2vecTrainParams<row_t>& params, const Word2vecTrainPlan& sizes,
             const OwnRows<row_t>& own, Carver& carve)
      : stride_(kStride > 0 ? kStride : params.stride),
        bags_(params.bag_offsets != nullptr),
        pooled_(params.cbow || bags_),
        mean_(bags_ ? params.bag_mean : params.cbow_mean),
        own_(own),
        in_scale_(params.in_scale),
        error_(carve.take<scalar_t>(sizes.most_errors * kErrors)),
        change_(carve.take<scalar_t>(sizes.shared_tiles * kTile * W)),
        gathered_(carve.take<scalar_t>(params.stride)),
        gradient_(carve.take<scalar_t>(params.stride)),
        scale_(carve.take<scalar_t>(sizes.most_contexts)),
        summed_(sizes.sums),
        sums_(params, sizes, carve) {}

  // Before the first window of a plan, and after the last one.
  void begin(const Plan<row_t>& plan) {
    if (summed_) sums_.begin(plan);
  }
  void end(const Plan<row_t>& plan) {
    if (summed_) sums_.end(plan);
  }

  // Trains a window while rows of later ones are fetched; adds to the loss.
  LEXFORGE_INLINE void train(const Plan<row_t>& plan, const Window<row_t>& window,
                             Ahead<row_t>& ahead, double& loss) {
    if (pooled_) gather(plan, window);
    loss += errors(plan, window, ahead);
    update(plan, window, [&]() LEXFORGE_INLINED { ahead.fetch(stride_); });
    ahead.fetch_all(stride_);
  }

 private:
  static constexpr int64_t W = L::kWidth, kErrorWidth = Lanes::kWidth;
  static constexpr int kTile = Word2vecTrainPlan::kTile;
  static constexpr int kErrors = Word2vecTrainPlan::kErrors;
  static constexpr int64_t kChunk = L::kChunk, kPool = L::kPool;

  // Elements of a row, known when compiling where they can be.
  int64_t columns() const { return kStride > 0 ? kStride : stride_; }

  // How much of its change a row of in_table makes, where that is not all of it.
  scalar_t scale_of(const row_t* row) const {
    return static_cast<scalar_t>(in_scale_[own_.input_at(row)]);
  }

  // Those of the contexts.
  [[gnu::noinline]] void find_scales(const Plan<row_t>& plan, const Window<row_t>& window) {
    for (int64_t j = 0; j < window.inputs; ++j) {
      scale_[j] = scale_of(plan.row[window.first_context + j]);
    }
  }

  // Of each row in a pooled input.
  scalar_t share_of(const Window<row_t>& window) const {
    return mean_ ? 1 / static_cast<scalar_t>(window.pool[0].count + window.pool[1].count) : 1;
  }

  // Calls visit(row) with the rows that the input is made of.
  template <typename Visit>
  static LEXFORGE_INLINE void for_each_pooled(const Plan<row_t>& plan, const Window<row_t>& window,
                                              const Visit& visit) {
    for (const Range& part : window.pool) {
      row_t* const* rows = plan.pool + part.begin;
      for (int64_t j = 0; j < part.count; ++j) visit(rows[j]);
    }
  }

  // Calls visit.operator()<registers>(d) for chunks of columns that registers hold.
  template <typename Visit>
  static LEXFORGE_INLINE void in_chunks(int64_t count, const Visit& visit) {
    int64_t d = 0;
    if constexpr (kStride > 0) {
      if constexpr (kStride >= kPool * W) {
        for (; d + kPool * W <= kStride; d += kPool * W) visit.template operator()<kPool>(d);
      }
      constexpr int64_t kRest = kStride / W % kPool;
      if constexpr (kRest > 0) visit.template operator()<kRest>(d);
    } else {
      for (; d + kPool * W <= count; d += kPool * W) visit.template operator()<kPool>(d);
      for (; d + 4 * W <= count; d += 4 * W) visit.template operator()<4>(d);
      for (; d < count; d += W) visit.template operator()<1>(d);
    }
  }

  // The input of the pooled rows as they are now.
  [[gnu::noinline]] void gather(const Plan<row_t>& plan, const Window<row_t>& window) {
    if (summed_) return sums_.gather(plan, window, share_of(window), gathered_);
    const reg share = L::broadcast(share_of(window));
    in_chunks(columns(), [&]<int64_t kRegisters>(int64_t d) LEXFORGE_INLINED {
      reg sum[kRegisters];
#pragma GCC unroll 32
      for (int64_t r = 0; r < kRegisters; ++r) sum[r] = L::zero();
      for_each_pooled(plan, window, [&](const row_t* row) LEXFORGE_INLINED {
#pragma GCC unroll 32
        for (int64_t r = 0; r < kRegisters; ++r) {
          sum[r] = L::add(sum[r], L::load(row + d + r * W));
        }
      });
#pragma GCC unroll 32
      for (int64_t r = 0; r < kRegisters; ++r) {
        L::store(gathered_ + d + r * W, L::mul(share, sum[r]));
      }
    });
  }

  // Calls visit(input, tile) in the order of the errors: with those of the tiles that all inputs have
  // in common, for each input, then with those of each input's own.
  template <typename Visit>
  LEXFORGE_INLINE void for_each_tile(const Plan<row_t>& plan, const Window<row_t>& window,
                                     const Visit& visit) {
    if (pooled_) {
      for (int64_t tile = 0; tile < window.own_tiles; ++tile) visit(gathered_, tile);
      return;
    }
    row_t* const* inputs = plan.row + window.first_context;
    if (window.shared_tiles > 0) {
      for (int64_t j = 0; j < window.inputs; ++j) {
        const row_t* row = inputs[j];
        for (int64_t tile = 0; tile < window.shared_tiles; ++tile) visit(row, tile);
      }
    }
    if (window.own_tiles > 0) {
      int64_t tile = window.shared_tiles;
      for (int64_t j = 0; j < window.inputs; ++j) {
        const row_t* row = inputs[j];
        for (const int64_t end = tile + window.own_tiles; tile < end; ++tile) visit(row, tile);
      }
    }
  }

  // error_[kErrors * i + t], i in the order of for_each_tile(); returns the window's loss.
  double errors(const Plan<row_t>& plan, const Window<row_t>& window, Ahead<row_t>& ahead) {
    if (!pooled_ && window.shared_tiles + window.own_tiles == 1) {
      return window.own_tiles == 0 ? errors_of_one_tile<true>(plan, window, ahead)
                                   : errors_of_one_tile<false>(plan, window, ahead);
    }
    scalar_t* score = error_;
    for_each_tile(plan, window, [&](const auto* input, int64_t tile) LEXFORGE_INLINED {
      dot_tile(input, plan.row + window.first_row + tile * kTile, score);
      score += kErrors;
    });
    // While the first errors wait for each other.
    for (int i = 0; i < 4; ++i) ahead.fetch(stride_);
    return errors_of_scores(plan, window);
  }

  // The same where each input has one tile, of its own or the one of all (kShared). First all
  // scores, then all errors: these are long chains of instructions that depend on each other, and
  // the processor works on those of several registers at a time.
  template <bool kShared>
  LEXFORGE_INLINE double errors_of_one_tile(const Plan<row_t>& plan, const Window<row_t>& window,
                                            Ahead<row_t>& ahead) {
    row_t* const* input = plan.row + window.first_context;
    row_t* const* rows = plan.row + window.first_row;
    for (int64_t j = 0; j < window.inputs; ++j) {
      for (int i = 0; i < (kShared ? 2 : kTile / 2); ++i) ahead.fetch(stride_);
      dot_tile(input[j], rows + (kShared ? 0 : j * kTile), error_ + j * kErrors);
    }

    constexpr int64_t kWide = kErrorWidth > kErrors ? kErrorWidth : kErrors;
    scalar_t repeated[kWide];
    const scalar_t* weight = plan.weight + window.first_tile * kErrors;
    if constexpr (kShared) {
      for (int t = 0; t < kWide; ++t) repeated[t] = weight[t % kErrors];
      weight = repeated;
    }
    const auto lr = Lanes::broadcast(window.lr);
    auto loss = Lanes::zero();
    const int64_t count = window.inputs * kErrors;
    int64_t t = 0;
    for (; t + kWide <= count; t += kWide) {
      for (int64_t i = t; i < t + kWide; i += kErrorWidth) {
        loss = errors_at<Lanes>(lr, weight + (kShared ? i - t : i), error_ + i, loss);
      }
    }
    const auto rest =
        errors_at_rest(E::broadcast(window.lr), weight + (kShared ? 0 : t), error_ + t, count - t);
    return Lanes::sum(loss) + E::sum(rest);
  }

  // The same from the scores in error_, in whole registers where an input has several tiles.
  [[gnu::noinline]] double errors_of_scores(const Plan<row_t>& plan, const Window<row_t>& window) {
    const auto lr = E::broadcast(window.lr);
    const auto wide_lr = Lanes::broadcast(window.lr);
    auto loss = E::zero();
    auto wide_loss = Lanes::zero();
    scalar_t* error = error_;
    const auto input = [&](const scalar_t* weight, int64_t tiles) {
      const int64_t count = tiles * kErrors;
      int64_t t = 0;
      for (; t + kErrorWidth <= count; t += kErrorWidth) {
        wide_loss = errors_at<Lanes>(wide_lr, weight + t, error + t, wide_loss);
      }
      loss = E::add(loss, errors_at_rest(lr, weight + t, error + t, count - t));
      error += count;
    };
    const scalar_t* weight = plan.weight + window.first_tile * kErrors;
    for (int64_t j = 0; j < window.inputs; ++j) input(weight, window.shared_tiles);
    weight += window.shared_tiles * kErrors;
    for (int64_t j = 0; j < window.inputs; ++j, weight += window.own_tiles * kErrors) {
      input(weight, window.own_tiles);
    }
    return E::sum(loss) + Lanes::sum(wide_loss);
  }

  // dots[0..7] <- dot products of an input with the targets of a tile, zero beyond.
  template <typename Input>
  LEXFORGE_INLINE void dot_tile(const Input* input, row_t* const* rows, scalar_t* dots) {
    const int64_t count = columns();
    const row_t* row[kTile];
    reg sum[8];
    for (int t = 0; t < 8; ++t) sum[t] = L::zero();
    for (int t = 0; t < kTile; ++t) row[t] = rows[t];
#pragma GCC unroll 32
    for (int64_t d = 0; d < count; d += W) {
      const reg v = L::load(input + d);
#pragma GCC unroll 8
      for (int t = 0; t < kTile; ++t) sum[t] = L::fma(v, L::load(row[t] + d), sum[t]);
    }
    L::sum8(sum, dots);
  }

  // For a register: x <- lr * |w| * (y - sigmoid(x)), y = w > 0; returns `loss` and its losses. With
  // s the sign of w that is lr * w * sigmoid(-s x), and the loss is -|w| log(sigmoid(s x)).
  template <typename R>
  static LEXFORGE_INLINE typename R::reg errors_at(typename R::reg lr, const scalar_t* weight,
                                                   scalar_t* x, typename R::reg loss) {
    const auto w = R::load_any(weight);
    const auto score = R::load_any(x);
    const auto minus = R::sub(R::zero(), score);
    typename R::reg log_sigmoid;
    const auto sigmoid = Numerics<R>::sigmoid_log(R::select_negative(w, score, minus), log_sigmoid);
    // log(sigmoid(s x)) = log(sigmoid(-s x)) + s x
    const auto gain = R::sub(log_sigmoid, R::select_negative(w, score, minus));
    R::store_any(x, R::mul(R::mul(lr, w), sigmoid));
    return R::fnma(R::select_negative(w, R::sub(R::zero(), w), w), gain, loss);
  }

  // For a tile, or what is left of several.
  static LEXFORGE_INLINE typename E::reg errors_at_rest(typename E::reg lr, const scalar_t* weight,
                                                        scalar_t* x, int64_t count) {
    auto loss = E::zero();
    for (int64_t t = 0; t < count; t += E::kWidth) loss = errors_at<E>(lr, weight + t, x + t, loss);
    return loss;
  }

  template <typename Fetch>
  LEXFORGE_INLINE void update(const Plan<row_t>& plan, const Window<row_t>& window,
                              const Fetch& fetch) {
    if (pooled_) return update_pooled(plan, window, fetch);
    if (in_scale_ != nullptr) find_scales(plan, window);
    if (window.shared_tiles > 0) update_shared(plan, window);
    if (window.own_tiles == 0) return;
    if constexpr (kStride > 0 && kStride / W <= kChunk) {
      if (window.own_tiles == 1 && in_scale_ == nullptr) {
        return update_pairs(plan, window, fetch);
      }
    }
    update_own<false>(plan, window, fetch);
  }

  // Input by input, each with its own targets. A pooled one's change goes to gradient_.
  template <bool kPooled, typename Fetch>
  LEXFORGE_INLINE void update_own(const Plan<row_t>& plan, const Window<row_t>& window,
                                  const Fetch& fetch) {
    const int64_t count = columns();
    const int64_t tiles = window.own_tiles;
    row_t* const* rows = plan.row + window.first_row + window.shared_tiles * kTile;
    const scalar_t* error = error_ + window.shared_tiles * window.inputs * kErrors;
    for (int64_t j = 0; j < window.inputs; ++j, rows += tiles * kTile, error += tiles * kErrors) {
      using Input = std::conditional_t<kPooled, scalar_t, row_t>;
      const Input* input;
      Input* into;
      if constexpr (kPooled) {
        input = gathered_, into = gradient_;
      } else {
        input = into = plan.row[window.first_context + j];
      }
      const scalar_t scale = kPooled || in_scale_ == nullptr ? 1 : scale_[j];
      constexpr int64_t kWhole = kStride / W;
      if constexpr (kStride > 0 && kWhole <= kChunk) {
        update_one<kPooled, kWhole>(input, into, 0, tiles, rows, error, scale, true, fetch);
      } else {
        int64_t d = 0;
        for (; d + kChunk * W <= count; d += kChunk * W) {
          update_one<kPooled, kChunk>(input + d, into + d, d, tiles, rows, error, scale, d == 0,
                                      fetch);
        }
        if constexpr (kWhole % kChunk > 0) {
          update_one<kPooled, kWhole % kChunk>(input + d, into + d, d, tiles, rows, error, scale,
                                               false, fetch);
        } else {
          for (; d < count; d += W) {
            update_one<kPooled, 1>(input + d, into + d, d, tiles, rows, error, scale, d == 0,
                                   fetch);
          }
        }
      }
    }
  }

  // The same for whole rows of a window whose inputs have one tile each. Its first target is the
  // centre's row, which stays in registers: a noise word that equals it has an error of zero.
  template <typename Fetch>
  LEXFORGE_INLINE void update_pairs(const Plan<row_t>& plan, const Window<row_t>& window,
                                    const Fetch& fetch) {
    constexpr int64_t kRegisters = kStride / W;
    row_t* const* rows = plan.row + window.first_row + window.shared_tiles * kTile;
    const scalar_t* error = error_ + window.shared_tiles * window.inputs * kErrors;
    row_t* const center = rows[0];
    reg centered[kRegisters];
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRegisters; ++r) centered[r] = L::load(center + r * W);
    for (int64_t j = 0; j < window.inputs; ++j, rows += kTile, error += kErrors) {
      row_t* const input = plan.row[window.first_context + j];
      reg v[kRegisters], sum[kRegisters];
      const reg first = L::broadcast(error[0]);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kRegisters; ++r) {
        v[r] = L::load(input + r * W);
        sum[r] = L::fma(first, centered[r], v[r]);
        centered[r] = L::fma(first, v[r], centered[r]);
      }
#pragma GCC unroll 8
      for (int t = 1; t < kTile; ++t) {
        if (t % 2 == 1) fetch();
        row_t* const row = rows[t];
        const reg e = L::broadcast(error[t]);
#pragma GCC unroll 16
        for (int64_t r = 0; r < kRegisters; ++r) {
          const reg u = L::load(row + r * W);
          sum[r] = L::fma(e, u, sum[r]);
          L::store(row + r * W, L::fma(e, v[r], u));
        }
      }
#pragma GCC unroll 16
      for (int64_t r = 0; r < kRegisters; ++r) L::store(input + r * W, sum[r]);
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRegisters; ++r) L::store(center + r * W, centered[r]);
  }

  // kRegisters of columns of one input and its targets, which begin at d in their rows.
  template <bool kPooled, int64_t kRegisters, typename Input, typename Fetch>
  LEXFORGE_INLINE void update_one(const Input* input, Input* into, int64_t d, int64_t tiles,
                                  row_t* const* rows, const scalar_t* error, scalar_t scale,
                                  bool first, const Fetch& fetch) {
    reg v[kRegisters], sum[kRegisters];
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRegisters; ++r) {
      v[r] = L::load(input + r * W);
      sum[r] = kPooled ? L::zero() : v[r];
    }
    for (int64_t tile = 0; tile < tiles; ++tile, rows += kTile, error += kErrors) {
      for (int t = 0; t < kTile; ++t) {
        if (first && t % 2 == 1) fetch();
        row_t* row = rows[t] + d;
        const reg e = L::broadcast(error[t]);
#pragma GCC unroll 16
        for (int64_t r = 0; r < kRegisters; ++r) {
          const reg u = L::load(row + r * W);
          sum[r] = L::fma(e, u, sum[r]);
          L::store(row + r * W, L::fma(e, v[r], u));
        }
      }
    }
    if (!kPooled && scale != 1) {
      for (int64_t r = 0; r < kRegisters; ++r) {
        sum[r] = L::fma(L::broadcast(scale), L::sub(sum[r], v[r]), v[r]);
      }
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRegisters; ++r) L::store(into + r * W, sum[r]);
  }

  // Apart, for the sake of skip-gram's registers.
  template <typename Fetch>
  [[gnu::noinline]] void update_pooled(const Plan<row_t>& plan, const Window<row_t>& window,
                                       const Fetch& fetch) {
    if (window.own_tiles == 0) return;
    update_own<true>(plan, window, fetch);
    if (summed_) return sums_.add(plan, window, gradient_);
    scatter(plan, window);
  }

  // Adds the input's change to the rows that it is made of: with bags all of it, else their part.
  LEXFORGE_INLINE void scatter(const Plan<row_t>& plan, const Window<row_t>& window) {
    const scalar_t share = bags_ ? 1 : share_of(window);
    in_chunks(columns(), [&]<int64_t kRegisters>(int64_t d) LEXFORGE_INLINED {
      reg change[kRegisters];
#pragma GCC unroll 32
      for (int64_t r = 0; r < kRegisters; ++r) {
        change[r] = L::load(gradient_ + d + r * W);
      }
      for_each_pooled(plan, window, [&](row_t* row) LEXFORGE_INLINED {
        const reg part = L::broadcast(in_scale_ == nullptr ? share : share * scale_of(row));
        row_t* into = row + d;
#pragma GCC unroll 32
        for (int64_t r = 0; r < kRegisters; ++r) {
          L::store(into + r * W, L::fma(part, change[r], L::load(into + r * W)));
        }
      });
    });
  }

  LEXFORGE_INLINE void update_shared(const Plan<row_t>& plan, const Window<row_t>& window) {
    const bool one_tile = window.shared_tiles == 1;
    if (in_scale_ != nullptr) {
      one_tile ? update_shared_tiles<true, true>(plan, window)
               : update_shared_tiles<false, true>(plan, window);
    } else {
      one_tile ? update_shared_tiles<true, false>(plan, window)
               : update_shared_tiles<false, false>(plan, window);
    }
  }

  // All inputs with the same targets, a register of columns at a time. With one tile its rows and
  // their changes stay in registers; with more the changes wait in change_. Never with bags: columns
  // begin alike in all rows.
  template <bool kOneTile, bool kScaled>
  LEXFORGE_INLINE void update_shared_tiles(const Plan<row_t>& plan, const Window<row_t>& window) {
    const int64_t count = columns();
    row_t* const* rows = plan.row + window.first_row;
    row_t* const* inputs = plan.row + window.first_context;
    const int64_t tiles = kOneTile ? 1 : window.shared_tiles;
    for (int64_t d = 0; d < count; d += W) {
      reg u[kTile], change[kTile];
      for (int64_t tile = 0; tile < tiles; ++tile) {
        for (int t = 0; t < kTile; ++t) {
          u[t] = L::load(rows[tile * kTile + t] + d);
          change[t] = L::zero();
        }
        const scalar_t* error = error_ + tile * kErrors;
        for (int64_t j = 0; j < window.inputs; ++j, error += tiles * kErrors) {
          const reg v = L::load(inputs[j] + d);
#pragma GCC unroll 8
          for (int t = 0; t < kTile; ++t) change[t] = L::fma(L::broadcast(error[t]), v, change[t]);
        }
        if (!kOneTile) {
          for (int t = 0; t < kTile; ++t) L::store(change_ + (tile * kTile + t) * W, change[t]);
        }
      }
      for (int64_t tile = 0; tile < tiles; ++tile) {
        if (!kOneTile) {
          for (int t = 0; t < kTile; ++t) u[t] = L::load(rows[tile * kTile + t] + d);
        }
        const scalar_t* error = error_ + tile * kErrors;
        for (int64_t j = 0; j < window.inputs; ++j, error += tiles * kErrors) {
          reg even = L::load(inputs[j] + d), odd = L::zero();
#pragma GCC unroll 8
          for (int t = 0; t < kTile; t += 2) {
            even = L::fma(L::broadcast(error[t]), u[t], even);
            odd = L::fma(L::broadcast(error[t + 1]), u[t + 1], odd);
          }
          reg input = L::add(even, odd);
          if (kScaled) {
            const reg before = L::load(inputs[j] + d);
            input = L::fma(L::broadcast(scale_[j]), L::sub(input, before), before);
          }
          L::store(inputs[j] + d, input);
        }
      }
      for (int64_t tile = 0; tile < tiles; ++tile) {
        for (int t = 0; t < kTile; ++t) {
          row_t* row = rows[tile * kTile + t] + d;
          const reg more = kOneTile ? change[t] : L::load(change_ + (tile * kTile + t) * W);
          L::store(row, L::add(L::load(row), more));
        }
      }
    }
  }

  const int64_t stride_;
  const bool bags_, pooled_, mean_;
  const OwnRows<row_t>& own_;
  const float* const in_scale_;
  scalar_t* error_;     // dot products, then errors
  scalar_t* change_;    // of shared targets, one register of columns each
  scalar_t* gathered_;  // a pooled input
  scalar_t* gradient_;  // and its change
  scalar_t* scale_;     // of each context's change
  const bool summed_;   // whether inputs are made of sums of bags
  BagSums<L> sums_;
};

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
