// Drawing minibatches on the CPU (contract: skipgram_batch.h).
#include <algorithm>

#include "common/cpu_capability.h"
#include "word2vec/skipgram_batch.h"
#include "word2vec/word2vec_train.h"

namespace lexforge {
namespace {

constexpr int64_t kAhead = 8;

// The random word of each position, four of which share a quad.
class PositionWords {
 public:
  PositionWords(uint64_t seed, uint32_t epoch, RandomStream stream)
      : seed_(seed), epoch_(epoch), stream_(stream) {}

  uint32_t at(int64_t position) {
    const uint64_t quad = static_cast<uint64_t>(position) >> 2;
    if (quad != held_) {
      words_ = philox_at(seed_, epoch_, quad, stream_, 0);
      held_ = quad;
    }
    return words_.word[position & 3];
  }

 private:
  uint64_t seed_;
  uint32_t epoch_;
  RandomStream stream_;
  uint64_t held_ = ~uint64_t{0};
  PhiloxQuad words_{};
};

class KeptPositions {
 public:
  explicit KeptPositions(const SkipgramWindowsParams& params)
      : params_(params), words_(params.seed, params.epoch, RandomStream::kSubsample) {}

  bool operator()(int64_t position) {
    return unit_float(words_.at(position)) < params_.keep[params_.tokens[position]];
  }

 private:
  const SkipgramWindowsParams& params_;
  PositionWords words_;
};

}  // namespace

SkipgramWindowsCount count_windows(const SkipgramWindowsParams& params, int64_t first,
                                   int64_t last) {
  KeptPositions keep(params);
  SkipgramWindowsCount count{0, 0};
  for (int64_t sentence = first; sentence < last; ++sentence) {
    int64_t kept = 0;
    for (int64_t p = params.offsets[sentence]; p < params.offsets[sentence + 1]; ++p) {
      kept += keep(p);
    }
    count.kept += kept;
    count.centers += kept > 1 ? kept : 0;
  }
  return count;
}

void write_windows(const SkipgramWindowsParams& params, int64_t first, int64_t last, int64_t rank,
                   int32_t* kept_token, int64_t* kept_position, int32_t* center) {
  KeptPositions keep(params);
  PositionWords window_words(params.seed, params.epoch, RandomStream::kWindow);
  for (int64_t sentence = first; sentence < last; ++sentence) {
    const int64_t sentence_rank = rank;
    const int64_t* position = kept_position;
    for (int64_t p = params.offsets[sentence]; p < params.offsets[sentence + 1]; ++p) {
      if (!keep(p)) continue;
      *kept_token++ = params.tokens[p];
      *kept_position++ = p;
      ++rank;
    }
    if (rank - sentence_rank < 2) continue;
    for (int64_t i = sentence_rank; i < rank; ++i) {
      int64_t window = params.window;
      if (params.dynamic_window) {
        const uint32_t word = window_words.at(position[i - sentence_rank]);
        window = 1 + bounded(word, static_cast<uint32_t>(params.window));
      }
      center[0] = static_cast<int32_t>(i);
      center[1] = static_cast<int32_t>(std::max(i - window, sentence_rank));
      center[2] = static_cast<int32_t>(std::min(i + window + 1, rank));
      center += kCenterFields;
    }
  }
}

bool draw_minibatch(const SkipgramSource& source, int64_t first, int64_t last, SkipgramDraw& draw,
                    SkipgramMinibatch& batch) {
  const int64_t size = last - first;
  int64_t positives = 0;
  uint32_t largest = 0;
  const auto center_at = [&](int64_t b) -> const int32_t* {
    const int64_t index = source.order[first + b];
    return index < 0 || index >= source.center_count ? nullptr
                                                     : source.center + index * kCenterFields;
  };
  for (int64_t b = 0; b < size; ++b) {
    // The order is random: ask for the centre, and what it points at, some examples ahead.
    if (b + 2 * kAhead < size) __builtin_prefetch(center_at(b + 2 * kAhead));
    if (const int32_t* ahead = b + kAhead < size ? center_at(b + kAhead) : nullptr) {
      __builtin_prefetch(source.kept_position + ahead[0]);
      __builtin_prefetch(source.kept_token + ahead[1]);
    }
    const int32_t* center = center_at(b);
    if (center == nullptr) return false;
    const int64_t rank = center[0], begin = center[1], end = center[2];
    if (begin < 0 || rank < begin || rank >= end || end > source.kept_count ||
        end - begin - 1 > source.most_contexts()) {
      return false;
    }
    draw.offsets[b] = positives;
    draw.positions[b] = source.kept_position[rank];
    batch.center[b] = source.kept_token[rank];
    largest = std::max(largest, static_cast<uint32_t>(batch.center[b]));
    for (int64_t i = begin; i < end; ++i) {
      draw.positives[positives] = source.kept_token[i];
      positives += i != rank;
      largest = std::max(largest, static_cast<uint32_t>(source.kept_token[i]));
    }
  }
  draw.offsets[size] = positives;
  if (size > 0 && largest >= source.vocab_size) return false;

  const SampleNoiseParams params{
      .table = source.noise,
      .size = source.vocab_size,
      .positives = draw.positives,
      .offsets = draw.offsets,
      .positions = draw.positions,
      .first_position = 0,
      .rows = size,
      .count = positives,
      .negatives = source.negatives,
      .seed = source.seed,
      .epoch = source.epoch,
      .noise = draw.noise,
  };
  choose(&baseline::sample_noise, &avx2::sample_noise, &avx512::sample_noise)(params, 0, size);

  int32_t* target = batch.target;
  batch.size = size;
  for (int64_t b = 0; b < size; ++b) {
    const int64_t contexts = draw.offsets[b + 1] - draw.offsets[b];
    const int64_t slots = contexts * (1 + source.negatives);
    const int64_t begin = target - batch.target;
    batch.begin[b] = static_cast<int32_t>(begin);
    target = std::copy_n(draw.positives + draw.offsets[b], contexts, target);
    target = std::copy_n(draw.noise + draw.offsets[b] * source.negatives,
                         contexts * source.negatives, target);
    std::fill_n(batch.example + begin, slots, static_cast<int32_t>(b));
    std::fill_n(batch.weight + begin, slots, slots > 0 ? 1.0f / static_cast<float>(slots) : 0.0f);
    std::fill_n(batch.label + begin, contexts, 1.0f);
    std::fill_n(batch.label + begin + contexts, slots - contexts, 0.0f);
  }
  batch.begin[size] = static_cast<int32_t>(target - batch.target);
  return true;
}

}  // namespace lexforge
