// Body of the kernel of classify_train_ for one instruction set (contract: classify_train.h).
// Start with pyext/lexforge/reference/subword/classify_train.py.
//
// The rows of a line are in random places of a table that exceeds every cache: the loop waits for
// memory. Sums and changes are kept in registers for as many columns as these hold, so that a row's
// cache lines are met once for the sum and once for the change, and are fetched some rows before.
// Changes go from the last row to the first, as what was read last is nearest; they are the same
// for all rows, so that their order does not matter. Lines are listed one ahead: while the last
// rows of a line change, the first of the next are fetched.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "common/bfloat16.h"
#include "common/philox.h"
#include "subword/classify_train_cpu.h"
// The instruction set applies from here on.
#include "common/simd.h"
// Row arithmetic on its lanes.
#include "common/register_blocks.h"
#include "common/row_lanes.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Rows that are fetched ahead.
constexpr int64_t kAhead = 16;

template <typename L>
class LineTrainer {
 public:
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;
  static constexpr int64_t W = L::kWidth;

  LineTrainer(const ClassifyTrainParams<scalar_t>& params, const ClassifyTrainWork<scalar_t>& work)
      : params_(params), work_(work), stride_(params.stride) {}

  void train(double* stats) {
    Line now, next;
    int64_t line = params_.first_line;
    list(line, work_.rows[0], now);
    for (int64_t made = 0; line < params_.last_line; ++line, ++made) {
      next.count = 0;
      if (line + 1 < params_.last_line) list(line + 1, work_.rows[1 - made % 2], next);
      if (now.count > 0) {
        stats[0] += step(line, now, next);
        stats[1] += 1;
      }
      now = next;
    }
  }

 private:
  struct Line {
    const int32_t* rows = nullptr;
    int64_t count = 0;  // of features; 0 for one that trains nothing
  };

  // The features of a line.
  void list(int64_t line, int32_t* rows, Line& into) const {
    const auto& p = params_;
    int32_t* to = rows;
    into = {rows, 0};
    if (p.label_offsets[line] == p.label_offsets[line + 1]) return;
    const int32_t* tokens = p.tokens + p.offsets[line];
    const int64_t count = p.offsets[line + 1] - p.offsets[line];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t end = p.bag_offsets[tokens[i] + 1];
      for (int64_t at = p.bag_offsets[tokens[i]]; at < end; ++at) *to++ = p.bag_rows[at];
    }
    for (int64_t i = 0; p.word_ngrams > 1 && i < count; ++i) {
      auto hash = static_cast<uint64_t>(int64_t{p.hashes[tokens[i]]});
      const int64_t end = std::min<int64_t>(count, i + p.word_ngrams);
      for (int64_t j = i + 1; j < end; ++j) {
        hash = hash * 116049371 + static_cast<uint64_t>(int64_t{p.hashes[tokens[j]]});
        const auto bucket = static_cast<int64_t>(hash % static_cast<uint64_t>(p.buckets));
        const int64_t row = p.bucket_rows == nullptr ? bucket : p.bucket_rows[bucket];
        if (row >= 0) *to++ = static_cast<int32_t>(p.words + row);
      }
    }
    into.count = to - rows;
  }

  scalar_t* in_row(int32_t row) const { return params_.in_table + row * stride_; }
  scalar_t* out_row(int64_t row) const { return params_.out_table + row * stride_; }

  double step(int64_t line, const Line& now, const Line& next) {
    const scalar_t share = scalar_t(1) / static_cast<scalar_t>(now.count);
    each_block<L>(stride_, [&]<int64_t kRegisters>(int64_t d) LEXFORGE_INLINED {
      reg sum[kRegisters];
#pragma GCC unroll 32
      for (int64_t r = 0; r < kRegisters; ++r) sum[r] = L::zero();
      for (int64_t i = 0; i < now.count; ++i) {
        if (i + kAhead < now.count) prefetch_row(in_row(now.rows[i + kAhead]) + d, kRegisters * W);
        const scalar_t* row = in_row(now.rows[i]) + d;
#pragma GCC unroll 32
        for (int64_t r = 0; r < kRegisters; ++r) sum[r] = L::add(sum[r], L::load(row + r * W));
      }
      const reg shares = L::broadcast(share);
#pragma GCC unroll 32
      for (int64_t r = 0; r < kRegisters; ++r) {
        L::store(work_.hidden + d + r * W, L::mul(shares, sum[r]));
      }
    });
    const double progress = static_cast<double>(params_.tokens_before + params_.offsets[line]) /
                            static_cast<double>(params_.total_tokens);
    const auto lr =
        static_cast<scalar_t>(params_.alpha + (params_.min_alpha - params_.alpha) * progress);
    const double loss = errors(line, lr);
    if (params_.loss == ClassifyLoss::kNegative) {
      update_targets<true>(share);
    } else {
      update_targets<false>(share);
    }
    const int64_t ahead = std::min(kAhead, next.count);
    each_block<L>(stride_, [&]<int64_t kRegisters>(int64_t d) LEXFORGE_INLINED {
      reg change[kRegisters];
#pragma GCC unroll 32
      for (int64_t r = 0; r < kRegisters; ++r) change[r] = L::load(work_.gradient + d + r * W);
      const bool last = d + kRegisters * W == stride_;
      for (int64_t i = now.count; i-- > 0;) {
        if (last && i < ahead) prefetch_row(in_row(next.rows[ahead - 1 - i]), stride_);
        scalar_t* row = in_row(now.rows[i]) + d;
#pragma GCC unroll 32
        for (int64_t r = 0; r < kRegisters; ++r) {
          L::store(row + r * W, L::add(L::load(row + r * W), change[r]));
        }
      }
    });
    return loss;
  }

  // Finds the targets of a line and their errors; returns its loss.
  double errors(int64_t line, scalar_t lr) {
    const auto& p = params_;
    const int32_t* labels = p.label_ids + p.label_offsets[line];
    const int64_t count = p.label_offsets[line + 1] - p.label_offsets[line];
    const int32_t chosen =
        count == 1 ? labels[0] : labels[classify_label_at(p.seed, p.epoch, line, count)];
    every_ = p.loss == ClassifyLoss::kSoftmax || p.loss == ClassifyLoss::kOneVsAll;
    targets_ = 0;
    if (every_) {
      targets_ = p.labels;
    } else if (p.loss == ClassifyLoss::kTree) {
      for (int64_t at = p.path_offsets[chosen]; at < p.path_offsets[chosen + 1]; ++at) {
        push(p.paths[at] >> 1, p.paths[at] & 1);
      }
    } else {
      push(chosen, 1);
      const int64_t most = kDrawsPerNegative * p.negatives;
      for (int64_t draw = 0; draw < most && targets_ <= p.negatives; ++draw) {
        const int32_t noise = classify_noise_at(p.seed, p.epoch, line, static_cast<uint32_t>(draw),
                                                p.noise, p.labels);
        if (noise != chosen) push(noise, 0);
      }
    }
    dot_rows<L>(
        work_.hidden, stride_, targets_,
        [&](int64_t i) LEXFORGE_INLINED { return static_cast<const scalar_t*>(target(i)); },
        work_.error);
    if (p.loss == ClassifyLoss::kSoftmax) return softmax(chosen, lr);
    if (p.loss == ClassifyLoss::kOneVsAll) {
      std::fill_n(work_.label, targets_, scalar_t(0));
      for (int64_t i = 0; i < count; ++i) work_.label[labels[i]] = 1;
    }
    return logistic(lr);
  }

  void push(int32_t row, int y) {
    work_.target[targets_] = row;
    work_.label[targets_++] = static_cast<scalar_t>(y);
  }

  LEXFORGE_INLINE scalar_t* target(int64_t i) const {
    return out_row(every_ ? i : work_.target[i]);
  }

  double softmax(int32_t chosen, scalar_t lr) {
    scalar_t* score = work_.error;
    const scalar_t largest = *std::max_element(score, score + targets_);
    const scalar_t of_chosen = score[chosen] - largest;
    const reg minus = L::broadcast(largest);
    reg sums = L::zero();
    int64_t i = 0;
    for (; i + W <= targets_; i += W) {
      const reg e = Numerics<L>::exp(L::sub(L::load_any(score + i), minus));
      L::store_any(score + i, e);
      sums = L::add(sums, e);
    }
    scalar_t sum = L::sum(sums);
    if (i < targets_) {
      const int64_t left = targets_ - i;
      L::store_any(score + i, Numerics<L>::exp(L::sub(L::load_first(score + i, left), minus)));
      for (; i < targets_; ++i) sum += score[i];
    }
    const scalar_t scale = -lr / sum;
    for (i = 0; i < targets_; ++i) score[i] *= scale;
    score[chosen] += lr;
    return std::log(static_cast<double>(sum)) - static_cast<double>(of_chosen);
  }

  // With s = 1 for y = 1 and -1 for y = 0: e = lr * s * sigmoid(-s score), loss -log sigmoid(s score).
  double logistic(scalar_t lr) {
    const reg half = L::broadcast(scalar_t(0.5)), lrs = L::broadcast(lr);
    double loss = 0;
    for (int64_t i = 0; i < targets_; i += W) {
      const int64_t left = targets_ - i;
      const reg sign = L::sub(L::load_first(work_.label + i, left), half);  // of s
      const reg score = L::load_first(work_.error + i, left);
      const reg minus = L::sub(L::zero(), score);
      reg log_sigmoid;
      const reg against = L::select_negative(sign, score, minus);  // -s score
      const reg sigmoid = Numerics<L>::sigmoid_log(against, log_sigmoid);
      // log(sigmoid(x)) = log(sigmoid(-x)) + x
      reg losses = L::sub(against, log_sigmoid);
      const reg e = L::mul(lrs, sigmoid);
      L::store_first(work_.error + i, L::select_negative(sign, L::sub(L::zero(), e), e), left);
      if (left >= W) {
        loss += static_cast<double>(L::sum(losses));
      } else {
        alignas(64) scalar_t each[W];
        L::store(each, losses);
        for (int64_t t = 0; t < left; ++t) loss += static_cast<double>(each[t]);
      }
    }
    return loss;
  }

  // The rows of the targets, and the gradient, which is `share` of what they do to x. A target may
  // come twice where kTwice, and is read as it was before.
  template <int64_t kRegisters, bool kTwice>
  LEXFORGE_INLINE void update_block(int64_t d, scalar_t share) {
    reg x[kRegisters], sum[kRegisters];
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRegisters; ++r) {
      x[r] = L::load(work_.hidden + d + r * W);
      sum[r] = L::zero();
    }
    for (int64_t i = 0; i < targets_; ++i) {
      scalar_t* row = target(i) + d;
      const reg e = L::broadcast(work_.error[i]);
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRegisters; ++r) {
        const reg u = L::load(row + r * W);
        sum[r] = L::fma(e, u, sum[r]);
        if (!kTwice) L::store(row + r * W, L::fma(e, x[r], u));
      }
    }
    for (int64_t i = 0; kTwice && i < targets_; ++i) {
      scalar_t* row = target(i) + d;
      const reg e = L::broadcast(work_.error[i]);
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRegisters; ++r) {
        L::store(row + r * W, L::fma(e, x[r], L::load(row + r * W)));
      }
    }
    const reg shares = L::broadcast(share);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRegisters; ++r) {
      L::store(work_.gradient + d + r * W, L::mul(shares, sum[r]));
    }
  }

  template <bool kTwice>
  void update_targets(scalar_t share) {
    int64_t d = 0;
    for (; d + 8 * W <= stride_; d += 8 * W) update_block<8, kTwice>(d, share);
    if (d + 4 * W <= stride_) update_block<4, kTwice>(d, share), d += 4 * W;
    if (d + 2 * W <= stride_) update_block<2, kTwice>(d, share), d += 2 * W;
    if (d + W <= stride_) update_block<1, kTwice>(d, share);
  }

  const ClassifyTrainParams<scalar_t> params_;
  const ClassifyTrainWork<scalar_t> work_;
  const int64_t stride_;
  bool every_ = false;   // label is a target
  int64_t targets_ = 0;  // of the line
};

}  // namespace

#ifdef LEXFORGE_ISA_BASELINE
void classify_train_double(const ClassifyTrainParams<double>& params,
                           const ClassifyTrainWork<double>& work, double* stats) {
  LineTrainer<ScalarLanes<double>>(params, work).train(stats);
}
#endif

void classify_train(const ClassifyTrainParams<float>& params, const ClassifyTrainWork<float>& work,
                    double* stats) {
  LineTrainer<FloatLanes>(params, work).train(stats);
}

}  // namespace lexforge::LEXFORGE_ISA
