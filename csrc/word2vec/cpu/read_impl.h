// The first stage of training over a corpus: tokens -> kept centres, by sub-sampling and windows,
// vectorised over positions. Knows nothing of what is trained. A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/scratch.h"
#include "word2vec/word2vec_train.h"
// The instruction set applies from here on.
#include "common/philox_simd.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Kept tokens between the sentences still to be read and the centres still to be trained.
template <typename row_t>
struct Kept {
  int32_t* token;
  int64_t* position;
  int32_t* window;
  int32_t* sentence;  // its number, of which the last 32 bits are kept
  ComputedType<row_t>* lr;
  int64_t size = 0;

  Kept(int64_t capacity, Carver& carve)
      : token(carve.take<int32_t>(capacity)),
        position(carve.take<int64_t>(capacity)),
        window(carve.take<int32_t>(capacity)),
        sentence(carve.take<int32_t>(capacity)),
        lr(carve.take<ComputedType<row_t>>(capacity)) {}

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
template <typename row_t>
class Reader {
 public:
  // Positions whose random words come from one vectorised call: four to a quad.
  static constexpr int64_t kSpan = 4 * PhiloxLanes::kWidth;

  Reader(const Word2vecTrainParams<row_t>& params, int64_t token_count)
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
  void fill(Kept<row_t>& kept, int64_t wanted) {
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
        kept.sentence[slot] = static_cast<int32_t>(sentence_);
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
    // Of the next span, whose words lie here and there.
    for (int64_t next = base + kSpan; next < base + 2 * kSpan && next < token_count_; ++next) {
      __builtin_prefetch(params_.keep + params_.tokens[next]);
    }
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
    lr_ = word2vec_learning_rate(params_, position_);
  }

  void fail() {
    valid_ = false;
    sentence_ = params_.last_sentence;
  }

  const Word2vecTrainParams<row_t>& params_;
  const int64_t token_count_;
  int64_t sentence_, position_, sentence_end_;
  ComputedType<row_t> lr_ = 0;
  bool valid_ = true;
  int64_t span_ = -1;
  uint32_t keep_words_[kSpan], window_words_[kSpan];
};

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
