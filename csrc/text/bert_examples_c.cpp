// C interface of the BERT examples: a corpus is copied in, and batches are written into memory that
// the caller allocated.
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "text/bert_examples.h"
#include "text/c_interface.h"

namespace lexforge::text {

// An epoch's examples in order; it must not be used after the examples are freed.
struct BertEpoch {
  const BertExamples& examples;
  uint32_t epoch;
  std::vector<BertPair> pairs;

  std::span<const BertPair> range(int64_t first, int64_t last) const {
    if (first < 0 || last < first || last > static_cast<int64_t>(pairs.size())) {
      throw std::out_of_range("BertEpoch: examples must be in 0.." + std::to_string(pairs.size()) +
                              ", got " + std::to_string(first) + ".." + std::to_string(last));
    }
    return std::span(pairs).subspan(first, last - first);
  }
};

LEXFORGE_TEXT_API int64_t lexforge_prediction_count(int64_t tokens) {
  return prediction_count(tokens);
}

LEXFORGE_TEXT_API int lexforge_examples_new(const int32_t* tokens, int64_t num_tokens,
                                            const int64_t* sentences, int64_t num_sentences,
                                            const int64_t* paragraphs, int64_t num_paragraphs,
                                            const int32_t* ordinary, int64_t num_ordinary,
                                            const uint8_t* continues, int64_t num_continues,
                                            int32_t mask, int32_t cls, int32_t sep, int64_t max_len,
                                            uint64_t seed, bool static_masks, BertExamples** made) {
  return checked([&] {
    BertCorpus corpus{{tokens, tokens + num_tokens},
                      {sentences, sentences + num_sentences},
                      {paragraphs, paragraphs + num_paragraphs}};
    BertRules rules{{ordinary, ordinary + num_ordinary},
                    {continues, continues + num_continues},
                    mask,
                    cls,
                    sep,
                    max_len,
                    seed,
                    static_masks};
    *made = new BertExamples(std::move(corpus), std::move(rules));
  });
}

LEXFORGE_TEXT_API void lexforge_examples_free(BertExamples* examples) { delete examples; }

LEXFORGE_TEXT_API int lexforge_examples_draw(const BertExamples* examples, uint32_t epoch,
                                             int threads, BertEpoch** made) {
  return checked([&] { *made = new BertEpoch{*examples, epoch, examples->draw(epoch, threads)}; });
}

LEXFORGE_TEXT_API void lexforge_epoch_free(BertEpoch* epoch) { delete epoch; }

LEXFORGE_TEXT_API int64_t lexforge_epoch_count(const BertEpoch* epoch) {
  return static_cast<int64_t>(epoch->pairs.size());
}

LEXFORGE_TEXT_API int lexforge_epoch_pair(const BertEpoch* epoch, int64_t example,
                                          int64_t sentences[2]) {
  return checked([&] {
    const BertPair pair = epoch->range(example, example + 1)[0];
    sentences[0] = pair.first;
    sentences[1] = pair.second;
  });
}

LEXFORGE_TEXT_API int lexforge_epoch_measure(const BertEpoch* epoch, int64_t first, int64_t last,
                                             BertBatchSize* size) {
  return checked([&] {
    *size = epoch->examples.measure(epoch->range(first, last));
    if (size->tokens > std::numeric_limits<int32_t>::max()) {
      throw std::invalid_argument(
          "BertExamples: batch_size must give fewer than 2^31 tokens, got " +
          std::to_string(size->tokens));
    }
  });
}

// The arrays are as large as lexforge_epoch_measure says.
LEXFORGE_TEXT_API int lexforge_epoch_fill(const BertEpoch* epoch, int64_t first, int64_t last,
                                          const BertBatch* batch, int threads) {
  return checked(
      [&] { epoch->examples.fill(epoch->epoch, epoch->range(first, last), *batch, threads); });
}

}  // namespace lexforge::text
