// The arithmetic of one window of skip-gram: the rows of a plan's window in, the same rows out.
// A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "word2vec/cpu/plan_impl.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// The step on a window of skip-gram with negative sampling, in three passes over its rows: dot
// products, errors, updates. L are the lanes of rows, E those of errors. kStride is the row length
// where it is known when compiling (then loops over a row are unrolled), else 0.
//
// Targets are handled a tile at a time: as many accumulators hide the latency of a dot product, and
// one load of the input row serves them all.
template <typename L, typename E, int kStride>
class WindowStep {
 public:
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;

  WindowStep(const Word2vecTrainParams<scalar_t>& params, const Word2vecTrainPlan& sizes,
                 Carver& carve)
      : stride_(kStride > 0 ? kStride : params.stride),
        share_(params.share_negatives),
        tiles_(sizes.tiles),
        error_(carve.take<scalar_t>(sizes.tiles * sizes.most_inputs * kErrors)),
        change_(carve.take<scalar_t>(sizes.tiles * kTile * W)) {}

  // Trains a window while rows of later ones are fetched; adds to the loss.
  LEXFORGE_INLINE void train(const Plan<scalar_t>& plan, const Window<scalar_t>& window,
                             Ahead<scalar_t>& ahead, double& loss) {
    loss += errors(plan, window, ahead);
    if (share_) {
      update_shared(plan, window);
    } else {
      update_pairs(plan, window, ahead);
    }
    ahead.fetch_until(window.first_input + window.inputs, stride_);
  }

 private:
  static constexpr int64_t W = L::kWidth;
  static constexpr int kTile = Word2vecTrainPlan::kTile;
  static constexpr int kErrors = Word2vecTrainPlan::kErrors;
  // Registers of an input row that an update holds, and as many for its gradient.
  static constexpr int64_t kChunk = W == 16 ? 10 : 4;

  // error_[(j * tiles + tile) * kErrors + t] for all inputs j; returns the window's loss.
  double errors(const Plan<scalar_t>& plan, const Window<scalar_t>& window,
                Ahead<scalar_t>& ahead) {
    const auto lr = E::broadcast(window.lr);
    auto loss = E::zero();
    scalar_t* error = error_;
    for (int64_t j = 0; j < window.inputs; ++j) {
      const int64_t first = share_ ? 0 : j * tiles_;
      const scalar_t* input = plan.row[window.first_input + j];
      for (int64_t tile = first; tile < first + tiles_; ++tile, error += kErrors) {
        if (share_) {
          ahead.fetch(stride_);
          ahead.fetch(stride_);
        }
        dot_tile(input, plan.row + window.first_row + tile * kTile, error);
        // At once, so that it overlaps with the next tile's dot products.
        const scalar_t* weight = plan.weight + (window.first_tile + tile) * kErrors;
        loss = E::add(loss, tile_errors(lr, weight, error));
      }
    }
    return E::sum(loss);
  }

  // dots[0..7] <- dot products of an input with the targets of a tile, zero beyond.
  LEXFORGE_INLINE void dot_tile(const scalar_t* input, scalar_t* const* rows, scalar_t* dots) {
    const scalar_t* row[kTile];
    reg sum[8];
    for (int t = 0; t < 8; ++t) sum[t] = L::zero();
    for (int t = 0; t < kTile; ++t) row[t] = rows[t];
#pragma GCC unroll 32
    for (int64_t d = 0; d < stride_; d += W) {
      const reg v = L::load(input + d);
#pragma GCC unroll 8
      for (int t = 0; t < kTile; ++t) sum[t] = L::fma(v, L::load(row[t] + d), sum[t]);
    }
    L::sum8(sum, dots);
  }

  // For a tile: x <- lr * |w| * (y - sigmoid(x)), y = w > 0; returns the losses. With s the sign of
  // w that is lr * w * sigmoid(-s x), and the loss is -|w| log(sigmoid(s x)).
  LEXFORGE_INLINE typename E::reg tile_errors(typename E::reg lr, const scalar_t* weight,
                                              scalar_t* x) {
    auto loss = E::zero();
    for (int64_t t = 0; t < kErrors; t += E::kWidth) {
      const auto w = E::load_any(weight + t);
      const auto score = E::load_any(x + t);
      const auto minus = E::sub(E::zero(), score);
      typename E::reg log_sigmoid;
      const auto sigmoid =
          Numerics<E>::sigmoid_log(E::select_negative(w, score, minus), log_sigmoid);
      // log(sigmoid(s x)) = log(sigmoid(-s x)) + s x
      const auto gain = E::sub(log_sigmoid, E::select_negative(w, score, minus));
      loss = E::fnma(E::select_negative(w, E::sub(E::zero(), w), w), gain, loss);
      E::store_any(x + t, E::mul(E::mul(lr, w), sigmoid));
    }
    return loss;
  }

  // Input by input, each with its own targets.
  void update_pairs(const Plan<scalar_t>& plan, const Window<scalar_t>& window,
                    Ahead<scalar_t>& ahead) {
    scalar_t* const* rows = plan.row + window.first_row;
    const scalar_t* error = error_;
    for (int64_t j = 0; j < window.inputs; ++j, rows += tiles_ * kTile, error += tiles_ * kErrors) {
      scalar_t* input = plan.row[window.first_input + j];
      constexpr int64_t kWhole = kStride / W;
      if constexpr (kStride > 0 && kWhole <= kChunk) {
        update_pair<kWhole>(input, 0, rows, error, ahead);
      } else {
        int64_t d = 0;
        for (; d + kChunk * W <= stride_; d += kChunk * W) {
          update_pair<kChunk>(input, d, rows, error, ahead);
        }
        for (; d < stride_; d += W) update_pair<1>(input, d, rows, error, ahead);
      }
    }
  }

  // Columns [from, from + kRegisters * W) of one input and its targets; fetches rows with the
  // first.
  template <int64_t kRegisters>
  LEXFORGE_INLINE void update_pair(scalar_t* input, int64_t from, scalar_t* const* rows,
                                   const scalar_t* error, Ahead<scalar_t>& ahead) {
    reg v[kRegisters], sum[kRegisters];
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRegisters; ++r) sum[r] = v[r] = L::load(input + from + r * W);
    for (int64_t tile = 0; tile < tiles_; ++tile, rows += kTile, error += kErrors) {
      for (int t = 0; t < kTile; ++t) {
        if (from == 0) ahead.fetch(stride_);
        scalar_t* row = rows[t] + from;
        const reg e = L::broadcast(error[t]);
#pragma GCC unroll 16
        for (int64_t r = 0; r < kRegisters; ++r) {
          const reg u = L::load(row + r * W);
          sum[r] = L::fma(e, u, sum[r]);
          L::store(row + r * W, L::fma(e, v[r], u));
        }
      }
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRegisters; ++r) L::store(input + from + r * W, sum[r]);
  }

  void update_shared(const Plan<scalar_t>& plan, const Window<scalar_t>& window) {
    if (tiles_ == 1) {
      update_shared_tiles<true>(plan, window);
    } else {
      update_shared_tiles<false>(plan, window);
    }
  }

  // All inputs with the same targets, a register of columns at a time. With one tile its rows and
  // their changes stay in registers; with more the changes wait in change_.
  template <bool kOneTile>
  LEXFORGE_INLINE void update_shared_tiles(const Plan<scalar_t>& plan,
                                           const Window<scalar_t>& window) {
    scalar_t* const* rows = plan.row + window.first_row;
    scalar_t* const* inputs = plan.row + window.first_input;
    const int64_t tiles = kOneTile ? 1 : tiles_;
    for (int64_t d = 0; d < stride_; d += W) {
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
          L::store(inputs[j] + d, L::add(even, odd));
        }
      }
      for (int64_t tile = 0; tile < tiles; ++tile) {
        for (int t = 0; t < kTile; ++t) {
          scalar_t* row = rows[tile * kTile + t] + d;
          const reg more = kOneTile ? change[t] : L::load(change_ + (tile * kTile + t) * W);
          L::store(row, L::add(L::load(row), more));
        }
      }
    }
  }

  const int64_t stride_;
  const bool share_;
  const int64_t tiles_;  // of targets per input
  scalar_t* error_;      // dot products, then errors
  scalar_t* change_;     // of shared targets, one register of columns each
};

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
