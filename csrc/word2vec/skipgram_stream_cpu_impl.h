// Body of the streaming skip-gram kernel for one instruction set (contract: skipgram_stream.h).
//
// Work flows through three stages, a block of centres at a time, so that none waits for another's
// memory:
//   read    tokens -> kept centres (sub-sampling and windows, vectorised over positions)
//   plan    centres -> the rows that each window touches, in order, with labels and weights
//   train   windows, each in three passes over its rows: dot products, errors, updates; while one
//           window is updated the rows of the next are prefetched
// Rows are handled kTile at a time: as many accumulators hide the latency of a dot product, and one
// load of the centre row serves them all.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/philox.h"
#include "word2vec/skipgram_stream_cpu.h"
// The instruction set applies from here on.
#include "common/simd.h"
// Needs simd.h.
#include "common/philox_simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

constexpr int kTile = SkipgramStreamPlan::kTile;
constexpr int kLineBytes = 64;

// Scratch arrays carved from the caller's workspace.
class Carver {
 public:
  explicit Carver(void* memory) : next_(static_cast<char*>(memory)) {}
  template <typename T>
  T* take(int64_t count) {
    T* taken = reinterpret_cast<T*>(next_);
    next_ += (count * static_cast<int64_t>(sizeof(T)) + kLineBytes - 1) / kLineBytes * kLineBytes;
    return taken;
  }

 private:
  char* next_;
};

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

  Reader(const SkipgramStreamParams<scalar_t>& params, int64_t token_count)
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

  const SkipgramStreamParams<scalar_t>& params_;
  const int64_t token_count_;
  int64_t sentence_, position_, sentence_end_;
  int32_t ordinal_ = 0;
  scalar_t lr_ = 0;
  bool valid_ = true;
  int64_t span_ = -1;
  uint32_t keep_words_[kSpan], window_words_[kSpan];
};

// One window: where its rows start in the plan's lists, and what it updates.
template <typename scalar_t>
struct Window {
  scalar_t* center;
  scalar_t lr;
  int64_t first, targets;  // into rows, label, weight; `targets` is not rounded up
};

// The windows of a block of centres.
template <typename scalar_t>
class Plan {
 public:
  Plan(const SkipgramStreamParams<scalar_t>& params, const SkipgramStreamPlan& sizes, Carver& carve)
      : params_(params) {
    const int64_t rows = sizes.planned * sizes.most_targets + 16;
    row = carve.take<scalar_t*>(rows);
    label = carve.take<scalar_t>(rows);
    weight = carve.take<scalar_t>(rows);
    window = carve.take<Window<scalar_t>>(sizes.planned);
    const int64_t quads =
        sizes.planned * ((sizes.most_draws + 1) / kDrawsPerQuad) + PhiloxLanes::kWidth;
    for (auto& word : counter_) word = carve.take<uint32_t>(quads);
    word_ = carve.take<uint32_t>(4 * quads);
    noise_ = carve.take<int32_t>(2 * quads);
    context_begin_ = carve.take<int32_t>(sizes.planned);
    context_end_ = carve.take<int32_t>(sizes.planned);
    spare_row_ = carve.take<scalar_t>(params.stride);
    std::memset(spare_row_, 0, params.stride * sizeof(scalar_t));
  }

  // Plans centres [begin, end) of `kept`, at most sizes.planned of them.
  void make(const Kept<scalar_t>& kept, int64_t begin, int64_t end) {
    const int64_t quads = lay_out(kept, begin, end);
    draw(quads);
    size = 0;
    pairs = 0;
    int64_t filled = 0;
    const int32_t* noise = noise_;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t contexts = context_end_[i - begin] - context_begin_[i - begin] - 1;
      if (contexts == 0) continue;
      Window<scalar_t>& next = window[size++];
      next.center = params_.in_table + kept.token[i] * params_.stride;
      next.lr = kept.lr[i];
      next.first = filled;
      filled = params_.share_negatives ? list_shared(kept, i, context_begin_[i - begin],
                                                     context_end_[i - begin], noise, filled)
                                       : list_pairs(kept, i, context_begin_[i - begin],
                                                    context_end_[i - begin], noise, filled);
      noise += (draws(contexts) + 1) / kDrawsPerQuad * kDrawsPerQuad;
      next.targets = filled - next.first;
      pairs += contexts;
      // Whole tiles: the rest points at a row of zeros, with weight 0.
      for (; filled % kTile != 0; ++filled) add(filled, spare_row_, 0, 0);
    }
    // The errors are computed a register at a time.
    for (int64_t i = filled; i < filled + 16; ++i) weight[i] = 0;
  }

  int64_t size = 0;  // windows with at least one context
  int64_t pairs = 0;
  Window<scalar_t>* window;
  scalar_t** row;
  scalar_t* label;
  scalar_t* weight;

 private:
  int64_t draws(int64_t contexts) const {
    return params_.share_negatives ? params_.negatives : contexts * params_.negatives;
  }

  void add(int64_t at, scalar_t* target, scalar_t y, scalar_t w) {
    row[at] = target;
    label[at] = y;
    weight[at] = w;
  }

  scalar_t* out_row(int32_t token) const { return params_.out_table + token * params_.stride; }

  // Finds each centre's contexts and writes the counters of all its quads; returns their number.
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
      const int64_t needed = contexts == 0 ? 0 : (draws(contexts) + 1) / kDrawsPerQuad;
      const uint64_t position = static_cast<uint64_t>(kept.position[i]);
      for (int64_t slot = 0; slot < needed; ++slot, ++quads) {
        counter_[0][quads] = static_cast<uint32_t>(position);
        counter_[1][quads] = static_cast<uint32_t>(position >> 32);
        counter_[2][quads] = stream_slot(RandomStream::kNegative, static_cast<uint32_t>(slot));
      }
    }
    return quads;
  }

  // The noise words of all quads, two to each, in order.
  void draw(int64_t quads) {
    constexpr int64_t W = PhiloxLanes::kWidth;
    using U = Uint32Lanes;
    for (int64_t q = 0; q < quads; q += W) {
      const auto words = PhiloxLanes::quads(
          static_cast<uint32_t>(params_.seed), static_cast<uint32_t>(params_.seed >> 32),
          {{U::load_any(counter_[0] + q), U::load_any(counter_[1] + q), U::broadcast(params_.epoch),
            U::load_any(counter_[2] + q)}});
      for (int w = 0; w < 4; ++w) U::store_any(word_ + 4 * q + w * W, words.word[w]);
    }
    const uint32_t vocab_size = static_cast<uint32_t>(params_.vocab_size);
    for (int64_t q = 0; q < quads; q += W) {
      const uint32_t* words = word_ + 4 * q;
      for (int64_t lane = 0; lane < W; ++lane) {
        noise_[2 * (q + lane)] =
            alias_draw(params_.noise, vocab_size, words[lane], words[W + lane]);
        noise_[2 * (q + lane) + 1] =
            alias_draw(params_.noise, vocab_size, words[2 * W + lane], words[3 * W + lane]);
      }
    }
  }

  int64_t list_pairs(const Kept<scalar_t>& kept, int64_t i, int64_t from, int64_t to,
                     const int32_t* noise, int64_t at) {
    for (int64_t j = from; j < to; ++j) {
      if (j == i) continue;
      const int32_t positive = kept.token[j];
      add(at++, out_row(positive), 1, 1);
      for (int32_t k = 0; k < params_.negatives; ++k, ++noise) {
        add(at, out_row(*noise), 0, 1);
        at += *noise != positive;
      }
    }
    return at;
  }

  int64_t list_shared(const Kept<scalar_t>& kept, int64_t i, int64_t from, int64_t to,
                      const int32_t* noise, int64_t at) {
    for (int64_t j = from; j < to; ++j) {
      if (j != i) add(at++, out_row(kept.token[j]), 1, 1);
    }
    for (int32_t k = 0; k < params_.negatives; ++k) {
      int64_t times = 0;
      for (int64_t j = from; j < to; ++j) times += j != i && kept.token[j] != noise[k];
      add(at, out_row(noise[k]), 0, static_cast<scalar_t>(times));
      at += times > 0;
    }
    return at;
  }

  const SkipgramStreamParams<scalar_t>& params_;
  uint32_t* counter_[3];  // position low, position high, stream and slot
  uint32_t* word_;
  int32_t* noise_;
  int32_t* context_begin_;
  int32_t* context_end_;
  scalar_t* spare_row_;
};

// Updates tables by the windows of a plan. kStride is the row length where it is known when
// compiling (then loops over a row are unrolled), else 0.
template <typename L, int kStride>
class Trainer {
 public:
  using scalar_t = typename L::scalar;
  using reg = typename L::reg;

  Trainer(int64_t stride, const SkipgramStreamPlan& sizes, Carver& carve)
      : stride_(kStride > 0 ? kStride : stride),
        error_(carve.take<scalar_t>(sizes.most_targets + 16)),
        gradient_(carve.take<scalar_t>(stride)) {}

  double train(const Plan<scalar_t>& plan) {
    double loss = 0;
    if (plan.size > 0) prefetch(plan, 0, 0);
    for (int64_t i = 0; i < plan.size; ++i) loss += train_window(plan, i);
    return loss;
  }

 private:
  static constexpr int64_t W = L::kWidth;
  static constexpr int64_t kLine = kLineBytes / sizeof(scalar_t);

  static LEXFORGE_INLINE void prefetch_row(const scalar_t* row, int64_t stride) {
    for (int64_t i = 0; i < stride; i += kLine) __builtin_prefetch(row + i, 1, 3);
  }

  // All rows of window i from its tile on.
  void prefetch(const Plan<scalar_t>& plan, int64_t i, int64_t tile) {
    const Window<scalar_t>& window = plan.window[i];
    prefetch_row(window.center, stride_);
    for (int64_t t = tile; t < window.targets; ++t) {
      prefetch_row(plan.row[window.first + t], stride_);
    }
  }

  double train_window(const Plan<scalar_t>& plan, int64_t i) {
    const Window<scalar_t>& window = plan.window[i];
    scalar_t* const* rows = plan.row + window.first;
    for (int64_t t = 0; t < window.targets; t += kTile) {
      dot_tile(window.center, rows + t, error_ + t);
    }
    const double loss = errors(plan, window);
    for (int64_t d = 0; d < stride_; d += W) L::store(gradient_ + d, L::zero());
    // The next window's rows, a tile of them for each tile updated here.
    const Window<scalar_t>* next = i + 1 < plan.size ? &window + 1 : nullptr;
    const int64_t ahead = next != nullptr ? next->targets : 0;
    int64_t t = 0;
    if (next != nullptr) prefetch_row(next->center, stride_);
    for (; t < window.targets; t += kTile) {
      if (t < ahead) {
        update_tile<true>(window.center, rows + t, error_ + t, plan.row + next->first + t);
      } else {
        update_tile<false>(window.center, rows + t, error_ + t, nullptr);
      }
    }
    for (; t < ahead; ++t) prefetch_row(plan.row[next->first + t], stride_);
    for (int64_t d = 0; d < stride_; d += W) {
      L::store(window.center + d, L::add(L::load(window.center + d), L::load(gradient_ + d)));
    }
    return loss;
  }

  LEXFORGE_INLINE void dot_tile(const scalar_t* center, scalar_t* const* rows, scalar_t* dots) {
    const scalar_t* row[kTile];
    reg sum[kTile];
    for (int t = 0; t < kTile; ++t) {
      row[t] = rows[t];
      sum[t] = L::zero();
    }
#pragma GCC unroll 32
    for (int64_t d = 0; d < stride_; d += W) {
      const reg v = L::load(center + d);
#pragma GCC unroll 8
      for (int t = 0; t < kTile; ++t) sum[t] = L::fma(v, L::load(row[t] + d), sum[t]);
    }
    L::sum8(sum, dots);
  }

  // error_ <- lr * weight * (label - sigmoid(x)); returns the window's loss.
  LEXFORGE_INLINE double errors(const Plan<scalar_t>& plan, const Window<scalar_t>& window) {
    const reg lr = L::broadcast(window.lr), one = L::broadcast(1);
    reg loss = L::zero();
    for (int64_t t = 0; t < window.targets; t += W) {
      const reg x = L::load_any(error_ + t);
      const reg y = L::load_any(plan.label + window.first + t);
      // Past the last target the lists already hold the next window.
      const reg w = L::load_first(plan.weight + window.first + t, window.targets - t);
      reg log_sigmoid;
      const reg sigmoid = Numerics<L>::sigmoid_log(x, log_sigmoid);
      // log(sigmoid(-x)) = log(sigmoid(x)) - x
      loss = L::fnma(w, L::fnma(L::sub(one, y), x, log_sigmoid), loss);
      L::store_any(error_ + t, L::mul(L::mul(lr, w), L::sub(y, sigmoid)));
    }
    return L::sum(loss);
  }

  template <bool kPrefetch>
  LEXFORGE_INLINE void update_tile(const scalar_t* center, scalar_t* const* rows,
                                   const scalar_t* errors, scalar_t* const* next) {
    scalar_t* row[kTile];
    reg error[kTile];
    for (int t = 0; t < kTile; ++t) {
      row[t] = rows[t];
      error[t] = L::broadcast(errors[t]);
    }
#pragma GCC unroll 32
    for (int64_t d = 0; d < stride_; d += W) {
      const reg v = L::load(center + d);
      reg gradient = L::load(gradient_ + d);
#pragma GCC unroll 8
      for (int t = 0; t < kTile; ++t) {
        const reg u = L::load(row[t] + d);
        gradient = L::fma(error[t], u, gradient);
        L::store(row[t] + d, L::fma(error[t], v, u));
        if (kPrefetch && d % kLine == 0) __builtin_prefetch(next[t] + d, 1, 3);
      }
      L::store(gradient_ + d, gradient);
    }
  }

  const int64_t stride_;
  scalar_t* error_;     // dot products, then errors
  scalar_t* gradient_;  // of the centre row
};

template <typename L, int kStride>
bool run(const SkipgramStreamParams<typename L::scalar>& params, int64_t token_count,
         void* workspace, double* stats) {
  using scalar_t = typename L::scalar;
  const SkipgramStreamPlan sizes(params.window, params.negatives, params.share_negatives);
  Carver carve(workspace);
  Kept<scalar_t> kept;
  const int64_t capacity = sizes.kept + Reader<scalar_t>::kSpan + 1;
  kept.token = carve.take<int32_t>(capacity);
  kept.position = carve.take<int64_t>(capacity);
  kept.window = carve.take<int32_t>(capacity);
  kept.sentence = carve.take<int32_t>(capacity);
  kept.lr = carve.take<scalar_t>(capacity);
  Plan<scalar_t> plan(params, sizes, carve);
  Trainer<L, kStride> trainer(params.stride, sizes, carve);
  Reader<scalar_t> reader(params, token_count);

  int64_t trained = 0;  // entries of `kept` before it are done, kept as contexts only
  while (true) {
    reader.fill(kept, sizes.kept);
    if (!reader.valid()) return false;
    // A sentence may go on beyond what has been read: hold back the centres that could see it.
    const int64_t ready = reader.done() ? kept.size : kept.size - params.window;
    for (; trained < ready; trained += sizes.planned) {
      const int64_t end = trained + sizes.planned < ready ? trained + sizes.planned : ready;
      plan.make(kept, trained, end);
      stats[0] += trainer.train(plan);
      stats[1] += static_cast<double>(plan.pairs);
      stats[2] += static_cast<double>(end - trained);
    }
    if (reader.done()) return true;
    trained = ready > 0 ? ready : 0;
    const int64_t dropped = trained > params.window ? trained - params.window : 0;
    kept.drop_front(dropped);
    trained -= dropped;
  }
}

}  // namespace

#ifdef LEXFORGE_ISA_BASELINE
bool skipgram_stream_double(const SkipgramStreamParams<double>& params, int64_t token_count,
                            void* workspace, double* stats) {
  return run<ScalarLanes<double>, 0>(params, token_count, workspace, stats);
}
#endif

bool skipgram_stream(const SkipgramStreamParams<float>& params, int64_t token_count,
                     void* workspace, double* stats) {
  switch (params.stride) {  // 50, 100, 128, 200 and 300 dimensions
    case 64:
      return run<FloatLanes, 64>(params, token_count, workspace, stats);
    case 112:
      return run<FloatLanes, 112>(params, token_count, workspace, stats);
    case 128:
      return run<FloatLanes, 128>(params, token_count, workspace, stats);
    case 208:
      return run<FloatLanes, 208>(params, token_count, workspace, stats);
    case 304:
      return run<FloatLanes, 304>(params, token_count, workspace, stats);
    default:
      return run<FloatLanes, 0>(params, token_count, workspace, stats);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
