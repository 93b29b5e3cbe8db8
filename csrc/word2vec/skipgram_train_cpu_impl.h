// Body of the streaming skip-gram kernel for one instruction set (contract: skipgram_train.h).
//
// Work flows through three stages, a block of centres at a time, so that none waits for another's
// memory:
//   read    tokens -> kept centres (sub-sampling and windows, vectorised over positions)
//   plan    centres -> the rows that each window touches, in order, with labels and weights
//   train   windows, each in three passes over its rows: dot products, errors, updates; meanwhile
//           the rows of later windows are fetched
// Targets are handled a tile at a time: as many accumulators hide the latency of a dot product, and
// one load of the input row serves them all.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/philox.h"
#include "common/scratch.h"
#include "word2vec/skipgram_train_cpu.h"
// The instruction set applies from here on.
#include "common/simd.h"
#include "sampling/alias_simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

constexpr int kTile = SkipgramTrainPlan::kTile;
constexpr int kErrors = SkipgramTrainPlan::kErrors;
constexpr int kLineBytes = 64;

// Kept tokens between the sentences still to be read and the centres still to be trained.
template <typename scalar_t>
struct Kept {
  int32_t* token;
  int64_t* position;
  int32_t* window;
  int32_t* sentence;  // ordinal; equal numbers belong together
  scalar_t* lr;
  int64_t size = 0;

  void drop_front(int64_t count) {
    size -= count;
    std::memmove(token, token + count, size * sizeof *token);
    std::memmove(position, position + count, size * sizeof *position);
    std::memmove(window, window + count, size * sizeof *window);
    std::memmove(sentence, sentence + count, size * sizeof *sentence);
    std::memmove(lr, lr + count, size * sizeof *lr);
  }
};

// Reads sentences in order and fills Kept.
template <typename scalar_t>
class Reader {
 public:
  // Positions whose random words come from one vectorised call: four to a quad.
  static constexpr int64_t kSpan = 4 * PhiloxLanes::kWidth;

  Reader(const SkipgramTrainParams<scalar_t>& params, int64_t token_count)
      : params_(params),
        token_count_(token_count),
        sentence_(params.first_sentence - 1),
        position_(0),
        sentence_end_(0) {
    next_sentence();
  }

  bool done() const { return sentence_ >= params_.last_sentence; }
  bool valid() const { return valid_; }

  // Reads until `kept` holds at least `wanted` tokens or the sentences end; a span of positions at
  // a time, so up to kSpan more may come.
  void fill(Kept<scalar_t>& kept, int64_t wanted) {
    while (!done() && kept.size < wanted) {
      const int64_t base = position_ / kSpan * kSpan;
      const int64_t end = sentence_end_ < base + kSpan ? sentence_end_ : base + kSpan;
      if (base != span_) draw(base);
      for (; position_ < end; ++position_) {
        const uint32_t token = static_cast<uint32_t>(params_.tokens[position_]);
        if (token >= static_cast<uint64_t>(params_.vocab_size)) {
          fail();
          return;
        }
        const int64_t offset = position_ - base;
        const int64_t slot = kept.size;
        kept.token[slot] = static_cast<int32_t>(token);
        kept.position[slot] = position_;
        kept.window[slot] = params_.dynamic_window
                                ? 1 + static_cast<int32_t>(bounded(
                                          window_words_[word_index(offset)], params_.window))
                                : params_.window;
        kept.sentence[slot] = ordinal_;
        kept.lr[slot] = lr_;
        kept.size += unit_float(keep_words_[word_index(offset)]) < params_.keep[token];
      }
      if (position_ == sentence_end_) next_sentence();
    }
  }

 private:
  // Where the word of a position within the span lies: word offset % 4 of quad offset / 4.
  static int64_t word_index(int64_t offset) {
    return (offset & 3) * PhiloxLanes::kWidth + (offset >> 2);
  }

  void draw(int64_t base) {
    const uint64_t quad = static_cast<uint64_t>(base) / 4;
    store(PhiloxLanes::along_positions(params_.seed, params_.epoch, quad, RandomStream::kSubsample,
                                       0),
          keep_words_);
    store(PhiloxLanes::along_positions(params_.seed, params_.epoch, quad, RandomStream::kWindow, 0),
          window_words_);
    span_ = base;
  }

  static void store(const PhiloxLanes::Quads& quads, uint32_t* words) {
    for (int w = 0; w < 4; ++w) {
      Uint32Lanes::store_any(words + w * PhiloxLanes::kWidth, quads.word[w]);
    }
  }

  void next_sentence() {
    do {
      if (++sentence_ >= params_.last_sentence) return;
      position_ = params_.offsets[sentence_];
      sentence_end_ = params_.offsets[sentence_ + 1];
      if (position_ < 0 || position_ > sentence_end_ || sentence_end_ > token_count_) {
        fail();
        return;
      }
    } while (position_ == sentence_end_);
    ++ordinal_;
    lr_ = skipgram_learning_rate(params_, position_);
  }

  void fail() {
    valid_ = false;
    sentence_ = params_.last_sentence;
  }

  const SkipgramTrainParams<scalar_t>& params_;
  const int64_t token_count_;
  int64_t sentence_, position_, sentence_end_;
  int32_t ordinal_ = 0;
  scalar_t lr_ = 0;
  bool valid_ = true;
  int64_t span_ = -1;
  uint32_t keep_words_[kSpan], window_words_[kSpan];
};

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
  Plan(const SkipgramTrainParams<scalar_t>& params, const SkipgramTrainPlan& sizes, Carver& carve)
      : params_(params) {
    row = carve.take<scalar_t*>(sizes.planned * sizes.most_rows + 1);
    weight = carve.take<scalar_t>(sizes.planned * sizes.most_tiles * kErrors);
    window = carve.take<Window<scalar_t>>(sizes.planned);
    const int64_t quads = sizes.planned * ((sizes.most_draws + 1) / kDrawsPerQuad) + 2 * kWidth;
    for (auto& word : counter_) word = carve.take<uint32_t>(quads);
    noise_ = carve.take<int32_t>(2 * quads);
    context_begin_ = carve.take<int32_t>(sizes.planned);
    context_end_ = carve.take<int32_t>(sizes.planned);
    spare_row_ = carve.take<scalar_t>(params.stride);
    std::memset(spare_row_, 0, params.stride * sizeof(scalar_t));
  }

  // Plans centres [begin, end) of `kept`, at most sizes.planned of them.
  void make(const Kept<scalar_t>& kept, int64_t begin, int64_t end) {
    draw(lay_out(kept, begin, end));
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
      noise += (draws(contexts) + 1) / kDrawsPerQuad * kDrawsPerQuad;
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
  static constexpr int64_t kWidth = PhiloxLanes::kWidth;

  int64_t draws(int64_t contexts) const {
    return params_.share_negatives ? params_.negatives : contexts * params_.negatives;
  }

  scalar_t* out_row(int32_t token) const { return params_.out_table + token * params_.stride; }

  // Finds each centre's contexts and writes the counters of all its quads; returns their number.
  int64_t lay_out(const Kept<scalar_t>& kept, int64_t begin, int64_t end) {
    using U = Uint32Lanes;
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
      const int64_t needed = contexts == 0 ? 0 : (draws(contexts) + 1) / kDrawsPerQuad;
      const uint64_t position = static_cast<uint64_t>(kept.position[i]);
      // Whole registers: what runs over is written again by the next centre.
      for (int64_t slot = 0; slot < needed; slot += kWidth) {
        const int64_t at = quads + slot;
        U::store_any(counter_[0] + at, U::broadcast(static_cast<uint32_t>(position)));
        U::store_any(counter_[1] + at, U::broadcast(static_cast<uint32_t>(position >> 32)));
        U::store_any(
            counter_[2] + at,
            U::add(U::broadcast(stream_slot(RandomStream::kNegative, static_cast<uint32_t>(slot))),
                   U::iota()));
      }
      quads += needed;
    }
    return quads;
  }

  // The noise words of all quads, two to each, in order; some more up to a whole register.
  void draw(int64_t quads) {
    using U = Uint32Lanes;
    const uint32_t vocab_size = static_cast<uint32_t>(params_.vocab_size);
    for (int64_t q = 0; q < quads; q += kWidth) {
      const auto words = PhiloxLanes::quads(
          static_cast<uint32_t>(params_.seed), static_cast<uint32_t>(params_.seed >> 32),
          {{U::load_any(counter_[0] + q), U::load_any(counter_[1] + q), U::broadcast(params_.epoch),
            U::load_any(counter_[2] + q)}});
      AliasLanes::store_pairs(
          noise_ + 2 * q, AliasLanes::draw(params_.noise, vocab_size, words.word[0], words.word[1]),
          AliasLanes::draw(params_.noise, vocab_size, words.word[2], words.word[3]));
    }
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

  const SkipgramTrainParams<scalar_t>& params_;
  uint32_t* counter_[3];  // position low, position high, stream and slot
  int32_t* noise_;
  int32_t* context_begin_;
  int32_t* context_end_;
  scalar_t* spare_row_;  // zeros
  int64_t tiles_ = 0;
};

// Updates tables by the windows of a plan. L are the lanes of rows, E those of errors. kStride is
// the row length where it is known when compiling (then loops over a row are unrolled), else 0.
template <typename L, typename E, int kStride>
class Trainer {
 public:
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;

  Trainer(const SkipgramTrainParams<scalar_t>& params, const SkipgramTrainPlan& sizes,
          Carver& carve)
      : stride_(kStride > 0 ? kStride : params.stride),
        share_(params.share_negatives),
        tiles_(sizes.tiles),
        error_(carve.take<scalar_t>(sizes.tiles * sizes.most_inputs * kErrors)),
        change_(carve.take<scalar_t>(sizes.tiles * kTile * W)) {}

  // Trains the windows of `plan` while fetching rows of `next`, which is empty at the end.
  double train(const Plan<scalar_t>& plan, const Plan<scalar_t>& next) {
    double loss = 0;
    for (int64_t i = 0; i < plan.size; ++i) {
      const Window<scalar_t>& window = plan.window[i];
      Ahead ahead{plan, next, window.first_row + kRowsAhead};
      loss += errors(plan, window, ahead);
      if (share_) {
        update_shared(plan, window);
      } else {
        update_pairs(plan, window, ahead);
      }
      while (ahead.index < window.first_input + window.inputs + kRowsAhead) fetch(ahead);
    }
    return loss;
  }

 private:
  static constexpr int64_t W = L::kWidth;
  static constexpr int64_t kLine = kLineBytes / sizeof(scalar_t);
  // Registers of an input row that an update holds, and as many for its gradient.
  static constexpr int64_t kChunk = W == 16 ? 10 : 4;
  // Far enough for a read from memory, near enough that the rows stay in the first-level cache. Of
  // 24, 48 and 96, tried with V = 83,000 and shared noise on a busy Zen 5, the medians of three
  // runs were 17, 22 and 22 M pairs/s; 64 lies between the two that did alike.
  static constexpr int64_t kRowsAhead = 64;

  // The next row to fetch: in the plan's list, beyond whose end lies the next plan's.
  struct Ahead {
    const Plan<scalar_t>& plan;
    const Plan<scalar_t>& next;
    int64_t index;
  };

  LEXFORGE_INLINE void fetch(Ahead& ahead) const {
    const int64_t beyond = ahead.index - ahead.plan.rows;
    if (beyond >= ahead.next.rows) {
      ++ahead.index;
      return;
    }
    const scalar_t* row = beyond < 0 ? ahead.plan.row[ahead.index] : ahead.next.row[beyond];
    ++ahead.index;
#pragma GCC unroll 32
    for (int64_t d = 0; d < stride_; d += kLine) __builtin_prefetch(row + d, 1, 3);
  }

  // error_[(j * tiles + tile) * kErrors + t] for all inputs j; returns the window's loss.
  double errors(const Plan<scalar_t>& plan, const Window<scalar_t>& window, Ahead& ahead) {
    const auto lr = E::broadcast(window.lr);
    auto loss = E::zero();
    scalar_t* error = error_;
    for (int64_t j = 0; j < window.inputs; ++j) {
      const int64_t first = share_ ? 0 : j * tiles_;
      const scalar_t* input = plan.row[window.first_input + j];
      for (int64_t tile = first; tile < first + tiles_; ++tile, error += kErrors) {
        if (share_) {
          fetch(ahead);
          fetch(ahead);
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
  void update_pairs(const Plan<scalar_t>& plan, const Window<scalar_t>& window, Ahead& ahead) {
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
                                   const scalar_t* error, Ahead& ahead) {
    reg v[kRegisters], sum[kRegisters];
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRegisters; ++r) sum[r] = v[r] = L::load(input + from + r * W);
    for (int64_t tile = 0; tile < tiles_; ++tile, rows += kTile, error += kErrors) {
      for (int t = 0; t < kTile; ++t) {
        if (from == 0) fetch(ahead);
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

template <typename L, typename E, int kStride>
bool run(const SkipgramTrainParams<typename L::scalar>& params, int64_t token_count,
         void* workspace, double* stats) {
  using scalar_t = typename L::scalar;
  const SkipgramTrainPlan sizes(params.window, params.negatives, params.share_negatives);
  Carver carve(workspace);
  Kept<scalar_t> kept;
  const int64_t capacity = sizes.kept + Reader<scalar_t>::kSpan + 1;
  kept.token = carve.take<int32_t>(capacity);
  kept.position = carve.take<int64_t>(capacity);
  kept.window = carve.take<int32_t>(capacity);
  kept.sentence = carve.take<int32_t>(capacity);
  kept.lr = carve.take<scalar_t>(capacity);
  // One plan is trained when the next is made, so that its rows can be fetched in time.
  Plan<scalar_t> plans[2] = {{params, sizes, carve}, {params, sizes, carve}};
  int64_t made = 0;
  Trainer<L, E, kStride> trainer(params, sizes, carve);
  Reader<scalar_t> reader(params, token_count);
  const auto finish = [&](const Plan<scalar_t>& plan, const Plan<scalar_t>& next) {
    stats[0] += trainer.train(plan, next);
    stats[1] += static_cast<double>(plan.pairs);
    stats[2] += static_cast<double>(plan.centers);
  };

  int64_t planned = 0;  // entries of `kept` before it serve as contexts only
  while (true) {
    reader.fill(kept, sizes.kept);
    if (!reader.valid()) return false;
    // A sentence may go on beyond what has been read: hold back the centres that could see it.
    const int64_t ready = reader.done() ? kept.size : kept.size - params.window;
    while (planned < ready) {
      const int64_t begin = planned;
      planned = begin + sizes.planned < ready ? begin + sizes.planned : ready;
      plans[made % 2].make(kept, begin, planned);
      if (made > 0) finish(plans[(made - 1) % 2], plans[made % 2]);
      ++made;
    }
    if (reader.done()) break;
    const int64_t dropped = planned > params.window ? planned - params.window : 0;
    kept.drop_front(dropped);
    planned -= dropped;
  }
  if (made > 0) {
    plans[made % 2].clear();
    finish(plans[(made - 1) % 2], plans[made % 2]);
  }
  return true;
}

}  // namespace

#ifdef LEXFORGE_ISA_BASELINE
bool skipgram_train_double(const SkipgramTrainParams<double>& params, int64_t token_count,
                           void* workspace, double* stats) {
  return run<ScalarLanes<double>, ScalarLanes<double>, 0>(params, token_count, workspace, stats);
}
#endif

bool skipgram_train(const SkipgramTrainParams<float>& params, int64_t token_count, void* workspace,
                    double* stats) {
  switch (params.stride) {  // 50, 100, 128, 200 and 300 dimensions
    case 64:
      return run<FloatLanes, FloatUpTo8, 64>(params, token_count, workspace, stats);
    case 112:
      return run<FloatLanes, FloatUpTo8, 112>(params, token_count, workspace, stats);
    case 128:
      return run<FloatLanes, FloatUpTo8, 128>(params, token_count, workspace, stats);
    case 208:
      return run<FloatLanes, FloatUpTo8, 208>(params, token_count, workspace, stats);
    case 304:
      return run<FloatLanes, FloatUpTo8, 304>(params, token_count, workspace, stats);
    default:
      return run<FloatLanes, FloatUpTo8, 0>(params, token_count, workspace, stats);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
