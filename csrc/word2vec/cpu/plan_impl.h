// The second stage: centres -> the rows that each window touches, in order, with labels and
// weights; and their fetching ahead of use. A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "word2vec/cpu/noise_impl.h"
#include "word2vec/cpu/own_rows_impl.h"
#include "word2vec/cpu/read_impl.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// A part of a list.
struct Range {
  int64_t begin, count;
};

// One window: where its tiles of targets and its contexts lie in the plan's lists. The tiles that
// all inputs have in common come first, then those of each input.
template <typename row_t>
struct Window {
  ComputedType<row_t> lr;
  int64_t first_tile;  // tile i: row[kTile i ..] after first_row, weight[kErrors i ..]
  int64_t first_row;   // the targets' tiles, then, without bags, the contexts
  int64_t first_context;
  int64_t first_cold, end_cold;  // rows to fetch for it
  int64_t inputs;                // as many as contexts, or one made of the rows of `pool`
  int64_t shared_tiles, own_tiles;
  Range pool[2];    // in the plan's pool
  Range tokens[2];  // in the plan's `slot`, where bags are added up beforehand
};

// The windows of a block of centres.
template <typename row_t>
class Plan {
 public:
  using scalar_t = ComputedType<row_t>;

  Plan(const Word2vecTrainParams<row_t>& params, const Word2vecTrainPlan& sizes,
       OwnRows<row_t>& own, Carver& carve)
      : params_(params),
        own_(own),
        in_common_(params.share_negatives || params.cbow),
        bags_(params.bag_offsets != nullptr),
        sums_(sizes.sums),
        sizes_(sizes) {
    row = carve.take<row_t*>(sizes.planned * sizes.most_rows + 1);
    cold = carve.take<const row_t*>(sizes.planned * (sizes.most_rows + 1) + 1);
    weight = carve.take<scalar_t>(sizes.planned * sizes.most_tiles * kErrors);
    window = carve.take<Window<row_t>>(sizes.planned);
    // Two registers more, which a position or a draw may run over.
    const int64_t quads = sizes.planned * noise_quads(sizes.most_draws) + 2 * PhiloxLanes::kWidth;
    for (auto& word : counter_) word = carve.take<uint32_t>(quads);
    noise_ = carve.take<int32_t>(2 * quads);
    path_ = carve.take<Range>(sizes.planned);
    context_begin_ = carve.take<int32_t>(sizes.planned);
    context_end_ = carve.take<int32_t>(sizes.planned);
    bag_row = carve.take<row_t*>(sizes.most_bag_rows);
    bag_begin_ = carve.take<int64_t>(sizes.most_tokens + 1);
    bag_uses_ = carve.take<int32_t>(sizes.most_tokens);
    slot = carve.take<int32_t>(sizes.most_tokens);
    slot_begin = carve.take<int64_t>(sizes.most_tokens + 1);
    slot_end = carve.take<int32_t>(sizes.most_tokens);
    slot_word_ = carve.take<int32_t>(sizes.most_tokens);
    pool = bags_ ? bag_row : row;
    spare_row_ = carve.take<row_t>(params.stride);
    std::memset(spare_row_, 0, params.stride * sizeof(row_t));
  }

  // Plans centres [begin, end) of `kept`, at most sizes.planned of them.
  void make(const Kept<row_t>& kept, int64_t begin, int64_t end) {
    draw_noise(params_, counter_, lay_out(kept, begin, end), noise_);
    clear();
    if (bags_) list_bags(kept, begin, end);
    centers = end - begin;
    const int32_t* noise = noise_;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t from = context_begin_[i - begin], to = context_end_[i - begin];
      const int64_t contexts = to - from - 1;
      if (contexts == 0) continue;
      Window<row_t>& next = window[size++];
      next.lr = kept.lr[i];
      next.first_tile = tiles_;
      next.first_row = rows;
      next.first_cold = colds;
      const int32_t center = kept.token[i];
      int64_t in_common = 0;  // tiles
      next.inputs = 1;
      if (bags_ && !params_.cbow) {
        list_contexts(kept, from, i, to, noise);
      } else {
        if (params_.tree_table != nullptr) list_path(path_[i - begin]);
        const int64_t path_tiles = tiles_ - next.first_tile;
        if (params_.out_table != nullptr) {
          const int64_t lists = in_common_ ? 1 : contexts;
          for (int64_t j = 0; j < lists; ++j) list_targets(center, noise + j * params_.negatives);
        }
        if (!params_.cbow) {
          next.inputs = contexts;
          in_common = in_common_ ? tiles_ - next.first_tile : path_tiles;
        }
      }
      if (params_.out_table != nullptr) noise += noise_quads(draws(contexts)) * kDrawsPerQuad;
      next.shared_tiles = in_common;
      next.own_tiles = (tiles_ - next.first_tile - in_common) / next.inputs;
      next.first_context = rows;
      inputs += params_.cbow ? 1 : contexts;
      if (bags_) {
        pool_bags(next, begin, from, i, to);
      } else {
        for (int64_t j = from; j < to; ++j) {
          if (j != i) row[rows++] = own_.row(Own::kIn, kept.token[j]);
        }
        next.pool[0] = {next.first_context, contexts};
        next.pool[1] = {rows, 0};
      }
      if (!bags_ && i + params_.window < kept.size) {
        const row_t* next = own_.input_ahead(kept.token[i + params_.window]);
        if (next != nullptr) cold[colds++] = next;
      }
      next.end_cold = colds;
    }
    own_.make_copies();
  }

  void clear() { size = inputs = centers = rows = colds = bag_rows = slots = tiles_ = 0; }

  bool valid = true;  // false when a path or a bag is none; such a window trains on what is
  int64_t size = 0;   // windows with at least one context
  int64_t inputs = 0;
  int64_t centers = 0;
  int64_t rows = 0;  // of all windows
  int64_t colds = 0;
  int64_t bag_rows = 0;
  Window<row_t>* window;
  row_t** row;
  // Those that may not be in the cache, to be fetched ahead: targets but for nodes near the root, and
  // without bags the rows of contexts, each when it comes into reach.
  const row_t** cold;
  row_t** bag_row;  // of the bags that the windows meet, each once, in the tokens' order
  row_t** pool;     // of these two the one whose rows inputs are made of
  // Where bags are added up: each word of the windows once, its rows in bag_row, and the number of
  // the window after the last that it is in; and the one that each token is, from a window before the
  // first centre on.
  int64_t slots = 0;
  int64_t* slot_begin;
  int32_t* slot_end;
  int32_t* slot;
  scalar_t* weight;  // with label 1: 1, with label 0: -1, of what is left out 0

 private:
  using Own = OwnRows<row_t>;
  static constexpr int kTile = Word2vecTrainPlan::kTile;
  static constexpr int kErrors = Word2vecTrainPlan::kErrors;
  static constexpr int64_t kNearRoot = 64;  // the last nodes, half of all that are visited

  int64_t draws(int64_t contexts) const {
    return in_common_ ? params_.negatives : contexts * params_.negatives;
  }

  // Finds each centre's contexts and places the quads of its noise; returns the number of quads.
  int64_t lay_out(const Kept<row_t>& kept, int64_t begin, int64_t end) {
    int64_t quads = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int32_t sentence = kept.sentence[i];
      int64_t from = i - kept.window[i], to = i + kept.window[i] + 1;
      from = from < 0 ? 0 : from;
      to = to > kept.size ? kept.size : to;
      while (kept.sentence[from] != sentence) ++from;
      while (kept.sentence[to - 1] != sentence) --to;
      if (params_.tree_table != nullptr) {
        prefetch_lists(kept, i, params_.path_offsets, params_.paths);
        // Those planned now: from the second-level cache into the first.
        const Range path = path_of(kept.token[i]);
        path_[i - begin] = path;
        __builtin_prefetch(params_.paths + path.begin);
        __builtin_prefetch(params_.paths + path.begin + path.count);
      }
      if (bags_) prefetch_lists(kept, i, params_.bag_offsets, params_.bag_rows);
      context_begin_[i - begin] = static_cast<int32_t>(from);
      context_end_[i - begin] = static_cast<int32_t>(to);
      const int64_t contexts = to - from - 1;
      const int64_t needed =
          contexts == 0 || params_.out_table == nullptr ? 0 : noise_quads(draws(contexts));
      place_noise(counter_, quads, needed, static_cast<uint64_t>(kept.position[i]));
      quads += needed;
    }
    return quads;
  }

  // Fetches the paths or bags of tokens to come, and where those of later ones begin.
  void prefetch_lists(const Kept<row_t>& kept, int64_t i, const int64_t* offsets,
                      const int32_t* elements) const {
    if (i + sizes_.begin_ahead < kept.size) {
      __builtin_prefetch(offsets + kept.token[i + sizes_.begin_ahead]);
    }
    if (i + sizes_.list_ahead < kept.size) {
      const int32_t* list = elements + offsets[kept.token[i + sizes_.list_ahead]];
      __builtin_prefetch(list);
      __builtin_prefetch(list + 15);  // most are no longer
    }
  }

  // Lists the bags of the tokens that the windows of centres [begin, end) meet: with skip-gram the
  // centres, with CBOW their contexts.
  void list_bags(const Kept<row_t>& kept, int64_t begin, int64_t end) {
    const int64_t first = begin - params_.window, tokens = end - first + params_.window;
    std::memset(bag_uses_, 0, tokens * sizeof *bag_uses_);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t from = context_begin_[i - begin], to = context_end_[i - begin];
      if (to - from == 1) continue;
      if (params_.cbow) {
        for (int64_t j = from; j < to; ++j) bag_uses_[j - first] += j != i;
      } else {
        bag_uses_[i - first] = 1;
      }
    }
    if (sums_) return list_slots(kept, first, tokens);
    for (int64_t k = 0; k < tokens; ++k) {
      bag_begin_[k] = bag_rows;
      if (bag_uses_[k] > 0) list_bag(kept.token[first + k], bag_uses_[k]);
    }
    bag_begin_[tokens] = bag_rows;
  }

  // The same for sums: each word's bag once. bag_begin_ tells how many rows there are in the bags of
  // all tokens before one.
  void list_slots(const Kept<row_t>& kept, int64_t first, int64_t tokens) {
    bag_begin_[0] = 0;
    for (int64_t k = 0; k < tokens; ++k) {
      bag_begin_[k + 1] = bag_begin_[k];
      if (bag_uses_[k] == 0) continue;
      const int32_t word = kept.token[first + k];
      int64_t u = 0;
      while (u < slots && slot_word_[u] != word) ++u;
      if (u == slots) {
        int64_t uses = bag_uses_[k];
        for (int64_t l = k + 1; l < tokens; ++l) {
          if (kept.token[first + l] == word) uses += bag_uses_[l];
        }
        slot_word_[u] = word;
        slot_begin[u] = bag_rows;
        slot_end[u] = 0;
        list_bag(word, uses);
        slot_begin[++slots] = bag_rows;
      }
      slot[k] = static_cast<int32_t>(u);
      bag_begin_[k + 1] += slot_begin[u + 1] - slot_begin[u];
    }
  }

  void list_bag(int32_t word, int64_t uses) {
    const int64_t begin = params_.bag_offsets[word], end = params_.bag_offsets[word + 1];
    if (begin < 0 || end <= begin || end > params_.bag_count || end - begin > params_.longest_bag) {
      valid = false;
      return;
    }
    for (int64_t n = begin; n < end; ++n) {
      const int32_t in_row = params_.bag_rows[n];
      if (static_cast<uint32_t>(in_row) >= static_cast<uint64_t>(params_.in_rows)) {
        valid = false;
        return;
      }
      bag_row[bag_rows++] = own_.row(Own::kIn, in_row, uses);
    }
  }

  // The input of centre i's window is made of its bag, or with CBOW of those of tokens [from, to)
  // without it. `begin` is the plan's first centre.
  void pool_bags(Window<row_t>& next, int64_t begin, int64_t from, int64_t i, int64_t to) {
    const auto bags = [&](int64_t first, int64_t last) {
      const int64_t* bag = bag_begin_ + (params_.window - begin + first);
      return Range{*bag, bag[last - first] - *bag};
    };
    if (params_.cbow) {
      next.pool[0] = bags(from, i);
      next.pool[1] = bags(i + 1, to);
      if (!sums_) return;
      const int64_t first = begin - params_.window;
      next.tokens[0] = {from - first, i - from};
      next.tokens[1] = {i + 1 - first, to - i - 1};
      for (const Range& part : next.tokens) {
        for (int64_t k = part.begin; k < part.begin + part.count; ++k) {
          slot_end[slot[k]] = static_cast<int32_t>(size);
        }
      }
    } else {
      next.pool[0] = bags(i, i + 1);
      next.pool[1] = {next.pool[0].begin + next.pool[0].count, 0};
    }
  }

  // Appends what the centre's bag predicts, in whole tiles: the paths of contexts [from, to) without
  // i, and these with their noise words.
  void list_contexts(const Kept<row_t>& kept, int64_t from, int64_t i, int64_t to,
                     const int32_t* noise) {
    const int64_t contexts = to - from - 1;
    const auto context = [&](int64_t j) { return kept.token[from + j + (from + j >= i)]; };
    for (int64_t j = 0; j < contexts; ++j) {
      if (params_.tree_table != nullptr) list_path(path_of(context(j)));
      if (params_.out_table == nullptr || in_common_) continue;
      list_targets(context(j), noise + j * params_.negatives);
    }
    if (params_.out_table == nullptr || !in_common_) return;
    const auto word = [&](int64_t n) { return n < contexts ? context(n) : noise[n - contexts]; };
    const auto label = [&](int64_t n) {
      if (n < contexts) return 1;
      int differing = 0;
      for (int64_t j = 0; j < contexts; ++j) differing += context(j) != noise[n - contexts];
      return -differing;
    };
    list(Own::kOut, contexts + params_.negatives, word, label);
  }

  // Appends the positive and its noise words, in whole tiles.
  void list_targets(int32_t positive, const int32_t* noise) {
    const auto word = [&](int64_t n) { return n == 0 ? positive : noise[n - 1]; };
    const auto label = [&](int64_t n) { return n == 0 ? 1 : noise[n - 1] == positive ? 0 : -1; };
    list(Own::kOut, 1 + params_.negatives, word, label);
  }

  // Of a word, in params_.paths.
  Range path_of(int32_t token) const {
    const int64_t* offset = params_.path_offsets + token;
    const auto begin = static_cast<uint64_t>(offset[0]), end = static_cast<uint64_t>(offset[1]);
    return {offset[0], static_cast<int64_t>(end - begin)};  // which may be nonsense
  }

  // Appends the inner nodes on a path, in whole tiles.
  void list_path(const Range& found) {
    const int64_t begin = found.begin, count = found.count;
    if (begin < 0 || count < 0 || count > params_.longest_path ||
        begin > params_.path_count - count) {
      valid = false;
      return;
    }
    // Without branches, since paths end here and there: codes are read beyond a path's end.
    const int64_t tiles = (count + kTile - 1) / kTile, slots = tiles * kTile;
    const int32_t* path = params_.paths + begin;
    constexpr int64_t kBeyond = kErrors - kTile;
    int32_t last[kLongestPath + kErrors];
    if (begin + slots + kBeyond > params_.path_count) {
      std::memset(last, 0, sizeof last);
      std::memcpy(last, path, count * sizeof *path);
      path = last;
    }
    bool good = true;
    const auto nodes = static_cast<uint32_t>(params_.vocab_size - 1);
    for (int64_t n = 0; n < count; ++n) good &= static_cast<uint32_t>(path[n] >> 1) < nodes;
    if (!good) {
      valid = false;
      return;
    }
    row_t** const to = row + rows;
    own_.nodes(path, count, to);
    for (int64_t n = count; n < slots; ++n) to[n] = spare_row_;
    scalar_t* const weights = weight + tiles_ * kErrors;
    for (int64_t tile = 0; tile < tiles; ++tile) {
#pragma GCC unroll 8
      for (int64_t t = 0; t < kErrors; ++t) {
        const int64_t n = tile * kTile + t;
        const int32_t label = 1 - 2 * (path[n] & 1);
        weights[tile * kErrors + t] = static_cast<scalar_t>(n < count && t < kTile ? label : 0);
      }
    }
    const int64_t warm = params_.vocab_size - 1 - kNearRoot;
    int64_t end = colds;
    for (int64_t n = 0; n < count; ++n) {
      cold[end] = to[n];
      end += (path[n] >> 1) < warm;
    }
    colds = end;
    tiles_ += tiles;
    rows += slots;
  }

  // Appends targets, in whole tiles.
  template <typename Row, typename Label>
  LEXFORGE_INLINE void list(typename Own::TableName table, int64_t targets, const Row& row_at,
                            const Label& label_at) {
    const auto fill = [&](const auto& place) LEXFORGE_INLINED {
      int64_t done = 0;
      for (; done + kTile <= targets; done += kTile) {
        list_tile(done, row_at, label_at, place, kTile);
      }
      if (done < targets) list_tile(done, row_at, label_at, place, targets - done);
    };
    if (own_.any()) {
      fill([&](int64_t n) LEXFORGE_INLINED { return own_.row(table, n); });
    } else {
      row_t* const start = own_.table(table);
      const int64_t stride = params_.stride;
      fill([&](int64_t n) LEXFORGE_INLINED { return start + n * stride; });
    }
  }

  // `count` targets from `first` on, and a row that they leave alone in the places left.
  template <typename Row, typename Label, typename Place>
  LEXFORGE_INLINE void list_tile(int64_t first, const Row& row_at, const Label& label_at,
                                 const Place& place, int64_t count) {
    row_t** const tile = row + rows;
    scalar_t* const weights = weight + tiles_ * kErrors;
#pragma GCC unroll 8
    for (int64_t t = 0; t < kErrors; ++t) {
      weights[t] = t < count ? static_cast<scalar_t>(label_at(first + t)) : 0;
    }
#pragma GCC unroll 8
    for (int64_t t = 0; t < kTile; ++t) {
      tile[t] = t < count ? place(row_at(first + t)) : spare_row_;
    }
    for (int64_t t = 0; t < count; ++t) cold[colds++] = tile[t];
    ++tiles_;
    rows += kTile;
  }

  const Word2vecTrainParams<row_t>& params_;
  OwnRows<row_t>& own_;
  const bool in_common_;  // one set of noise words for a window
  const bool bags_, sums_;
  const Word2vecTrainPlan& sizes_;
  uint32_t* counter_[3];  // of the quads of noise (noise_impl.h)
  int32_t* noise_;
  Range* path_;  // of each centre
  int32_t* context_begin_;
  int32_t* context_end_;
  row_t* spare_row_;    // zeros, in places that are left in a tile
  int64_t* bag_begin_;  // in bag_row, of the tokens from a window before the first centre on
  int32_t* bag_uses_;   // how many windows meet them
  int32_t* slot_word_;
  int64_t tiles_ = 0;
};

// Fetches rows in the order of a plan's list, beyond whose end lies the next plan's. Those of bags are
// read together, without waiting for each other, and fetching them too gained nothing.
template <typename row_t>
class Ahead {
 public:
  // Far enough for a read from memory, near enough that the rows stay in the first-level cache
  // (benchmarks/NOTES.md).
  static constexpr int64_t kRows = 24;

  // kRows after rows [first, end) of those that `plan` lists.
  Ahead(const Plan<row_t>& plan, const Plan<row_t>& next, int64_t first, int64_t end)
      : plan_(plan), next_(next), index_(first + kRows), end_(end + kRows) {}

  // The next row, of `stride` elements, if one is left.
  LEXFORGE_INLINE void fetch(int64_t stride) {
    if (index_ >= end_) return;
    const int64_t beyond = index_ - plan_.colds;
    const row_t* row = beyond < 0             ? plan_.cold[index_]
                       : beyond < next_.colds ? next_.cold[beyond]
                                              : nullptr;
    ++index_;
    if (row != nullptr) prefetch(row, stride);
  }

  // All that are left.
  LEXFORGE_INLINE void fetch_all(int64_t stride) {
    while (index_ < end_) fetch(stride);
  }

 private:
  const Plan<row_t>& plan_;
  const Plan<row_t>& next_;
  int64_t index_;
  const int64_t end_;
};

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
