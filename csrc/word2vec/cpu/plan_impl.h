// The second stage: centres -> the rows that each window touches, in order, with labels and
// weights; and their fetching ahead of use. A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "word2vec/cpu/noise_impl.h"
#include "word2vec/cpu/read_impl.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// One window: where its tiles of targets and its inputs lie in the plan's lists.
template <typename scalar_t>
struct Window {
  scalar_t lr;
  int64_t first_tile;  // tile i: row[kTile i ..] after first_row, weight[kErrors i ..]
  int64_t first_row;   // the targets' tiles, then the inputs
  int64_t first_input;
  int64_t inputs;
};

// The windows of a block of centres.
template <typename scalar_t>
class Plan {
 public:
  Plan(const Word2vecTrainParams<scalar_t>& params, const Word2vecTrainPlan& sizes, Carver& carve)
      : params_(params) {
    row = carve.take<scalar_t*>(sizes.planned * sizes.most_rows + 1);
    weight = carve.take<scalar_t>(sizes.planned * sizes.most_tiles * kErrors);
    window = carve.take<Window<scalar_t>>(sizes.planned);
    // Two registers more, which a position or a draw may run over.
    const int64_t quads = sizes.planned * noise_quads(sizes.most_draws) + 2 * PhiloxLanes::kWidth;
    for (auto& word : counter_) word = carve.take<uint32_t>(quads);
    noise_ = carve.take<int32_t>(2 * quads);
    context_begin_ = carve.take<int32_t>(sizes.planned);
    context_end_ = carve.take<int32_t>(sizes.planned);
    spare_row_ = carve.take<scalar_t>(params.stride);
    std::memset(spare_row_, 0, params.stride * sizeof(scalar_t));
  }

  // Plans centres [begin, end) of `kept`, at most sizes.planned of them.
  void make(const Kept<scalar_t>& kept, int64_t begin, int64_t end) {
    draw_noise(params_, counter_, lay_out(kept, begin, end), noise_);
    clear();
    centers = end - begin;
    const int32_t* noise = noise_;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t from = context_begin_[i - begin], to = context_end_[i - begin];
      const int64_t contexts = to - from - 1;
      if (contexts == 0) continue;
      Window<scalar_t>& next = window[size++];
      next.lr = kept.lr[i];
      next.first_tile = tiles_;
      next.first_row = rows;
      const int32_t positive = kept.token[i];
      const int64_t lists = params_.share_negatives ? 1 : contexts;
      for (int64_t j = 0; j < lists; ++j) list_targets(positive, noise + j * params_.negatives);
      noise += noise_quads(draws(contexts)) * kDrawsPerQuad;
      next.first_input = rows;
      next.inputs = contexts;
      pairs += contexts;
      for (int64_t j = from; j < to; ++j) {
        row[rows] = params_.in_table + kept.token[j] * params_.stride;
        rows += j != i;
      }
    }
  }

  void clear() { size = pairs = centers = rows = tiles_ = 0; }

  int64_t size = 0;  // windows with at least one context
  int64_t pairs = 0;
  int64_t centers = 0;
  int64_t rows = 0;  // of all windows
  Window<scalar_t>* window;
  scalar_t** row;
  scalar_t* weight;  // of a positive 1, of a noise word -1, of what is left out 0

 private:
  static constexpr int kTile = Word2vecTrainPlan::kTile;
  static constexpr int kErrors = Word2vecTrainPlan::kErrors;

  int64_t draws(int64_t contexts) const {
    return params_.share_negatives ? params_.negatives : contexts * params_.negatives;
  }

  scalar_t* out_row(int32_t token) const { return params_.out_table + token * params_.stride; }

  // Finds each centre's contexts and places the quads of its noise; returns the number of quads.
  int64_t lay_out(const Kept<scalar_t>& kept, int64_t begin, int64_t end) {
    int64_t quads = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int32_t sentence = kept.sentence[i];
      int64_t from = i - kept.window[i], to = i + kept.window[i] + 1;
      from = from < 0 ? 0 : from;
      to = to > kept.size ? kept.size : to;
      while (kept.sentence[from] != sentence) ++from;
      while (kept.sentence[to - 1] != sentence) --to;
      context_begin_[i - begin] = static_cast<int32_t>(from);
      context_end_[i - begin] = static_cast<int32_t>(to);
      const int64_t contexts = to - from - 1;
      const int64_t needed = contexts == 0 ? 0 : noise_quads(draws(contexts));
      place_noise(counter_, quads, needed, static_cast<uint64_t>(kept.position[i]));
      quads += needed;
    }
    return quads;
  }

  // Appends the positive and its noise words, in whole tiles.
  void list_targets(int32_t positive, const int32_t* noise) {
    int64_t targets = 1 + params_.negatives;
    for (int64_t done = 0; done < targets; done += kTile, ++tiles_, rows += kTile) {
      scalar_t** tile = row + rows;
      scalar_t* weights = weight + tiles_ * kErrors;
      for (int t = 0; t < kErrors; ++t) weights[t] = 0;
      for (int64_t t = 0; t < kTile; ++t) {
        const int64_t n = done + t;
        if (n == 0) {
          tile[t] = out_row(positive);
          weights[t] = 1;
        } else if (n < targets) {
          tile[t] = out_row(noise[n - 1]);
          weights[t] = noise[n - 1] == positive ? 0 : -1;
        } else {
          tile[t] = spare_row_;
        }
      }
    }
  }

  const Word2vecTrainParams<scalar_t>& params_;
  uint32_t* counter_[3];  // of the quads of noise (noise_impl.h)
  int32_t* noise_;
  int32_t* context_begin_;
  int32_t* context_end_;
  scalar_t* spare_row_;  // zeros
  int64_t tiles_ = 0;
};

// Fetches rows in the order of a plan's list, beyond whose end lies the next plan's.
template <typename scalar_t>
class Ahead {
 public:
  // Far enough for a read from memory, near enough that the rows stay in the first-level cache. Of
  // 24, 48 and 96, tried with V = 83,000 and shared noise on a busy Zen 5, the medians of three
  // runs were 17, 22 and 22 M pairs/s; 64 lies between the two that did alike.
  static constexpr int64_t kRows = 64;

  // From kRows after row `first` of `plan` on.
  Ahead(const Plan<scalar_t>& plan, const Plan<scalar_t>& next, int64_t first)
      : plan_(plan), next_(next), index_(first + kRows) {}

  // The next row, of `stride` elements.
  LEXFORGE_INLINE void fetch(int64_t stride) {
    const int64_t beyond = index_ - plan_.rows;
    if (beyond >= next_.rows) {
      ++index_;
      return;
    }
    const scalar_t* row = beyond < 0 ? plan_.row[index_] : next_.row[beyond];
    ++index_;
#pragma GCC unroll 32
    for (int64_t d = 0; d < stride; d += kLine) __builtin_prefetch(row + d, 1, 3);
  }

  // All that is left up to kRows after row `end` of the plan.
  LEXFORGE_INLINE void fetch_until(int64_t end, int64_t stride) {
    while (index_ < end + kRows) fetch(stride);
  }

 private:
  static constexpr int64_t kLine = 64 / sizeof(scalar_t);

  const Plan<scalar_t>& plan_;
  const Plan<scalar_t>& next_;
  int64_t index_;
};

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
