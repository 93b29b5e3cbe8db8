#include "text/bert_examples.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "text/threads.h"

namespace lexforge::text {
namespace {

// Starting a thread takes about as long as this much work.
constexpr int64_t kSentencesPerThread = 1 << 12;
constexpr int64_t kTokensPerThread = 1 << 16;

constexpr int64_t kIgnored = -100;  // a label that nothing is to be predicted for

// Where a candidate is in its example: behind <cls>, and in the second sentence behind <sep> too.
int64_t index_of(int64_t candidate, int64_t first_part) {
  return candidate + (candidate + 2 < first_part ? 1 : 2);
}

void check_offsets(const std::vector<int64_t>& offsets, int64_t total, const char* name) {
  const bool ascend =
      std::adjacent_find(offsets.begin(), offsets.end(), std::greater_equal<>()) == offsets.end();
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != total || !ascend) {
    throw std::invalid_argument("BertExamples: " + std::string(name) +
                                " must ascend strictly from 0 to " + std::to_string(total));
  }
  if (offsets.size() > std::numeric_limits<int32_t>::max()) {
    throw std::invalid_argument("BertExamples: " + std::string(name) + " must be fewer than 2^31");
  }
}

}  // namespace

BertExamples::BertExamples(BertCorpus corpus, BertRules rules)
    : corpus_(std::move(corpus)), rules_(std::move(rules)) {
  check_offsets(corpus_.sentences, static_cast<int64_t>(corpus_.tokens.size()), "sentences");
  check_offsets(corpus_.paragraphs, static_cast<int64_t>(corpus_.sentences.size()) - 1,
                "paragraphs");
  if (rules_.ordinary.empty() || rules_.ordinary.size() > std::numeric_limits<int32_t>::max()) {
    throw std::invalid_argument("BertExamples: ordinary must hold a token");
  }
  if (!rules_.continues.empty()) {
    const auto known = static_cast<int64_t>(rules_.continues.size());
    for (const int32_t token : corpus_.tokens) {
      if (token < 0 || token >= known) {
        throw std::invalid_argument("BertExamples: continues must hold token " +
                                    std::to_string(token));
      }
    }
  }
  int64_t shortest = std::numeric_limits<int64_t>::max();
  for (size_t q = 0; q + 1 < corpus_.paragraphs.size(); ++q) {
    for (int64_t a = corpus_.paragraphs[q]; a + 1 < corpus_.paragraphs[q + 1]; ++a) {
      const auto first = static_cast<uint32_t>(a);
      shortest = std::min(shortest, length(BertPair{first, first + 1}));
    }
  }
  if (shortest == std::numeric_limits<int64_t>::max()) {
    throw std::invalid_argument(
        "BertExamples: paragraphs must include one of two sentences, got none");
  }
  if (rules_.max_len < shortest) {
    throw std::invalid_argument("BertExamples: max_len must be at least " +
                                std::to_string(shortest) +
                                ", the shortest pair of neighbouring sentences and three special "
                                "tokens, got " +
                                std::to_string(rules_.max_len));
  }
}

uint32_t BertExamples::second(uint32_t epoch, uint32_t first) const {
  const auto& paragraphs = corpus_.paragraphs;
  for (uint32_t slot = 1;; ++slot) {
    const PhiloxQuad quad = philox_at(rules_.seed, epoch, first, RandomStream::kExamples, slot);
    if (slot == 1 && quad.word[0] < 1u << 31) return first + 1;
    const uint32_t q = bounded(quad.word[1], static_cast<uint32_t>(paragraphs.size() - 1));
    const auto sentences = static_cast<uint32_t>(paragraphs[q + 1] - paragraphs[q]);
    const uint32_t b = static_cast<uint32_t>(paragraphs[q]) + bounded(quad.word[2], sentences);
    if (b != first + 1) return b;  // at the latest a itself, with a chance of its own
  }
}

// Pairs of the sentences begin .. end - 1 that are short enough; returns how many.
int64_t BertExamples::draw_range(uint32_t epoch, int64_t begin, int64_t end, BertPair* kept) const {
  auto paragraph_end =
      std::upper_bound(corpus_.paragraphs.begin(), corpus_.paragraphs.end(), begin);
  int64_t count = 0;
  for (int64_t a = begin; a < end; ++a) {
    if (a + 1 == *paragraph_end) {
      ++paragraph_end;
      continue;
    }
    const auto first = static_cast<uint32_t>(a);
    const BertPair pair{first, second(epoch, first)};
    if (length(pair) <= rules_.max_len) kept[count++] = pair;
  }
  return count;
}

std::vector<BertPair> BertExamples::draw(uint32_t epoch, int threads) const {
  const auto sentences = static_cast<int64_t>(corpus_.sentences.size()) - 1;
  const int64_t parts = std::clamp<int64_t>(sentences / kSentencesPerThread, 1, threads);
  std::vector<BertPair> pairs(sentences);
  std::vector<int64_t> counts(parts);
  const auto begin = [&](int64_t part) { return sentences * part / parts; };
  run_parts(parts, [&](int64_t part) {
    counts[part] =
        draw_range(drawn_epoch(epoch), begin(part), begin(part + 1), pairs.data() + begin(part));
  });
  auto end = pairs.begin() + counts[0];
  for (int64_t part = 1; part < parts; ++part) {
    const auto from = pairs.begin() + begin(part);
    end = std::copy(from, from + counts[part], end);
  }
  pairs.erase(end, pairs.end());
  for (size_t j = pairs.size(); j-- > 1;) {
    const uint32_t word = philox_word_at(rules_.seed, epoch, j, RandomStream::kExamples);
    std::swap(pairs[j], pairs[bounded(word, static_cast<uint32_t>(j + 1))]);
  }
  return pairs;
}

BertBatchSize BertExamples::measure(std::span<const BertPair> examples) const {
  BertBatchSize size{0, 0, 0};
  for (const BertPair pair : examples) {
    const int64_t tokens = length(pair);
    size.tokens += tokens;
    size.predictions += prediction_count(tokens);
    size.longest = std::max(size.longest, tokens);
  }
  return size;
}

// Lays out the example whose first token is `start` and whose first prediction is `prediction`.
void BertExamples::write(uint32_t epoch, BertPair pair, int64_t start, int64_t prediction,
                         const BertBatch& batch, Scratch& scratch) const {
  const int64_t size = length(pair), first_part = length(pair.first) + 2;
  int32_t* tokens = batch.tokens + start;
  const auto copy_sentence = [&](uint32_t sentence, int32_t* to) {
    const auto from = corpus_.tokens.begin() + corpus_.sentences[sentence];
    std::copy(from, from + length(sentence), to);
  };
  tokens[0] = rules_.cls;
  copy_sentence(pair.first, tokens + 1);
  tokens[first_part - 1] = rules_.sep;
  copy_sentence(pair.second, tokens + first_part);
  tokens[size - 1] = rules_.sep;
  std::fill(batch.segments + start, batch.segments + start + first_part, 0);
  std::fill(batch.segments + start + first_part, batch.segments + start + size, 1);
  std::iota(batch.positions + start, batch.positions + start + size, 0);

  const int64_t candidates = size - 3, count = prediction_count(size);
  int64_t predicted = count;
  for (int64_t i = 0; i < count; ++i) {
    scratch.quads[i] =
        philox_at(rules_.seed, epoch, pair.first, RandomStream::kMasking, static_cast<uint32_t>(i));
  }
  std::fill_n(scratch.taken.begin(), candidates / 64 + 1, 0);
  if (!rules_.continues.empty()) {
    predicted = take_words(epoch, pair, tokens, scratch);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t last = candidates - count + i;
      const int64_t drawn = bounded(scratch.quads[i].word[0], static_cast<uint32_t>(last + 1));
      const bool twice = scratch.taken[drawn / 64] >> (drawn % 64) & 1;
      const int64_t candidate = twice ? last : drawn;
      scratch.taken[candidate / 64] |= uint64_t{1} << (candidate % 64);
    }
  }
  int64_t i = 0;
  for (int64_t block = 0; i < predicted; ++block) {
    for (uint64_t rest = scratch.taken[block]; rest != 0; rest &= rest - 1, ++i) {
      const int64_t candidate = 64 * block + std::countr_zero(rest);
      const int64_t index = index_of(candidate, first_part);
      batch.prediction_index[prediction + i] = start + index;
      batch.labels[prediction + i] = tokens[index];
      const uint32_t what = bounded(scratch.quads[i].word[1], 10);
      if (what < 8) {
        tokens[index] = rules_.mask;
      } else if (what == 9) {
        tokens[index] = rules_.ordinary[bounded(scratch.quads[i].word[2],
                                                static_cast<uint32_t>(rules_.ordinary.size()))];
      }
    }
  }
  for (; i < count; ++i) {
    batch.prediction_index[prediction + i] =
        i == 0 ? start : batch.prediction_index[prediction + i - 1];
    batch.labels[prediction + i] = kIgnored;
  }
}

// Marks the candidates of whole words; returns how many, at most prediction_count.
int64_t BertExamples::take_words(uint32_t epoch, BertPair pair, const int32_t* tokens,
                                 Scratch& scratch) const {
  const int64_t size = length(pair), first_part = length(pair.first) + 2;
  const int64_t candidates = size - 3, count = prediction_count(size);
  auto& words = scratch.words;
  words.clear();
  for (int64_t candidate = 0; candidate < candidates; ++candidate) {
    const bool begins = candidate == 0 || candidate == first_part - 2;
    if (begins || !rules_.continues[tokens[index_of(candidate, first_part)]]) {
      words.emplace_back(candidate, candidate);
    }
    words.back().second = candidate + 1;
  }
  int64_t left = count;
  for (size_t i = 0; i < words.size() && left > 0; ++i) {
    const uint32_t word =
        philox_at(rules_.seed, epoch, pair.first, RandomStream::kMasking, static_cast<uint32_t>(i))
            .word[0];
    std::swap(words[i], words[i + bounded(word, static_cast<uint32_t>(words.size() - i))]);
    const auto [begin, end] = words[i];
    if (end - begin > left) continue;
    left -= end - begin;
    for (int64_t candidate = begin; candidate < end; ++candidate) {
      scratch.taken[candidate / 64] |= uint64_t{1} << (candidate % 64);
    }
  }
  return count - left;
}

void BertExamples::fill(uint32_t epoch, std::span<const BertPair> examples, const BertBatch& batch,
                        int threads) const {
  const auto count = static_cast<int64_t>(examples.size());
  const BertBatchSize size = measure(examples);
  std::vector<int64_t> predictions(count + 1);
  batch.cu_seqlens[0] = 0;
  for (int64_t b = 0; b < count; ++b) {
    const int64_t tokens = length(examples[b]);
    batch.cu_seqlens[b + 1] = batch.cu_seqlens[b] + static_cast<int32_t>(tokens);
    predictions[b + 1] = predictions[b] + prediction_count(tokens);
    batch.next_labels[b] = examples[b].second == examples[b].first + 1;
  }
  const int64_t parts = std::clamp<int64_t>(size.tokens / kTokensPerThread, 1, threads);
  std::vector<Scratch> scratch(parts);
  for (Scratch& own : scratch) {
    own.quads.resize(prediction_count(size.longest));
    own.taken.resize(size.longest / 64 + 1);
  }
  run_parts(parts, [&](int64_t part) {
    for (int64_t b = count * part / parts; b < count * (part + 1) / parts; ++b) {
      write(drawn_epoch(epoch), examples[b], batch.cu_seqlens[b], predictions[b], batch,
            scratch[part]);
    }
  });
}

}  // namespace lexforge::text
