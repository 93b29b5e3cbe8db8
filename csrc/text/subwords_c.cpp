// C interface of n-grams. Words are bytes one behind the other, and where each begins.
#include <memory>
#include <string>
#include <vector>

#include "text/c_interface.h"
#include "text/subwords.h"

namespace lexforge::text {

LEXFORGE_TEXT_API uint32_t lexforge_ngram_hash(const char* ngram, int64_t size) {
  return hash_ngram({ngram, static_cast<size_t>(size)});
}

// Where the n-grams of a wrapped word begin and end, as int64.
LEXFORGE_TEXT_API int lexforge_ngram_spans(const char* wrapped, int64_t size, int32_t min_n,
                                           int32_t max_n, std::string** spans) {
  return checked([&] {
    std::vector<int64_t> found;
    each_ngram({wrapped, static_cast<size_t>(size)}, min_n, max_n,
               [&](std::string_view ngram, uint32_t) {
                 const int64_t begin = ngram.data() - wrapped;
                 found.insert(found.end(), {begin, begin + static_cast<int64_t>(ngram.size())});
               });
    *spans = bytes_of(found).release();
  });
}

LEXFORGE_TEXT_API int lexforge_subwords_new(int kind, int32_t min_n, int32_t max_n, int32_t buckets,
                                            SubwordRows** made) {
  return checked([&] {
    *made = new SubwordRows(static_cast<SubwordRows::Kind>(kind), min_n, max_n, buckets);
  });
}

LEXFORGE_TEXT_API void lexforge_subwords_free(SubwordRows* subwords) { delete subwords; }

LEXFORGE_TEXT_API int lexforge_subwords_give(SubwordRows* subwords, const int32_t* keys,
                                             const int32_t* rows, int64_t count) {
  return checked([&] { subwords->give({keys, static_cast<size_t>(count)}, rows); });
}

LEXFORGE_TEXT_API int lexforge_subwords_give_ngrams(SubwordRows* subwords, const char* bytes,
                                                    const int64_t* offsets, int64_t count) {
  return checked([&] { subwords->give(WordSpans{bytes, offsets, count}); });
}

LEXFORGE_TEXT_API int lexforge_subwords_grow(SubwordRows* subwords, const char* bytes,
                                             const int64_t* offsets, int64_t count,
                                             const int64_t* counts) {
  return checked([&] { subwords->grow({bytes, offsets, count}, counts); });
}

LEXFORGE_TEXT_API int64_t lexforge_subwords_rows(const SubwordRows* subwords) {
  return subwords->rows();
}

// The buckets that were given or found, as int32.
LEXFORGE_TEXT_API int lexforge_subwords_buckets(const SubwordRows* subwords, std::string** keys) {
  return checked([&] { *keys = bytes_of(subwords->buckets()).release(); });
}

// The n-grams one behind the other, and as int64 where each begins and the last one ends.
LEXFORGE_TEXT_API int lexforge_subwords_ngrams(const SubwordRows* subwords, std::string** bytes,
                                               std::string** offsets) {
  return checked([&] {
    auto text = std::make_unique<std::string>();
    std::vector<int64_t> begins{0};
    for (int64_t row = 0; row < subwords->rows(); ++row) {
      text->append(subwords->ngram(row));
      begins.push_back(static_cast<int64_t>(text->size()));
    }
    auto numbers = bytes_of(begins);
    *bytes = text.release();
    *offsets = numbers.release();
  });
}

// The rows of one word, as int32.
LEXFORGE_TEXT_API int lexforge_subwords_word(const SubwordRows* subwords, const char* word,
                                             int64_t size, std::string** rows) {
  return checked([&] {
    std::vector<int32_t> found;
    subwords->add({word, static_cast<size_t>(size)}, found);
    *rows = bytes_of(found).release();
  });
}

LEXFORGE_TEXT_API int lexforge_subwords_measure(const SubwordRows* subwords, const char* bytes,
                                                const int64_t* word_offsets, int64_t count,
                                                int64_t own, int threads, int64_t* offsets) {
  return checked([&] { subwords->measure({bytes, word_offsets, count}, own, threads, offsets); });
}

LEXFORGE_TEXT_API int lexforge_subwords_fill(const SubwordRows* subwords, const char* bytes,
                                             const int64_t* word_offsets, int64_t count,
                                             const int64_t* offsets, int64_t own, int32_t first,
                                             bool zeros_allowed, int threads, int32_t* rows) {
  return checked([&] {
    subwords->fill({bytes, word_offsets, count}, offsets, own, first, zeros_allowed, threads, rows);
  });
}

}  // namespace lexforge::text
