// C interface of n-grams. Words are bytes one behind the other, and where each begins.
#include <cstring>
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

// What a word is made of, in a room of so many bytes, as far as it has place: as int64 the bytes
// needed, the number of rows and the rows (`own` in front unless it is negative, `first` added to
// the others), then the n-grams as text (the word in front likewise), each with a 0 behind it. Also
// n-grams without a row are told.
LEXFORGE_TEXT_API int lexforge_subwords_parts(const SubwordRows* subwords, const char* word,
                                              int64_t size, int64_t own, int64_t first,
                                              int64_t place, char* room) {
  return checked([&] {
    const std::string_view text(word, static_cast<size_t>(size));
    thread_local std::vector<int32_t> rows;
    thread_local std::vector<int64_t> numbers;
    thread_local std::string ngrams;
    rows.clear();
    subwords->add(text, rows);
    numbers.assign(2, 0);
    ngrams.clear();
    if (own >= 0) {
      numbers.push_back(own);
      ngrams.append(text).push_back('\0');
    }
    for (const int32_t row : rows) numbers.push_back(first + row);
    subwords->each(text, [&](std::string_view ngram) { ngrams.append(ngram).push_back('\0'); });
    const size_t before = numbers.size() * sizeof(int64_t);
    numbers[0] = static_cast<int64_t>(before + ngrams.size());
    numbers[1] = static_cast<int64_t>(numbers.size()) - 2;
    if (numbers[0] > place) {
      std::memcpy(room, numbers.data(), sizeof(int64_t));
      return;
    }
    std::memcpy(room, numbers.data(), before);
    std::memcpy(room + before, ngrams.data(), ngrams.size());
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
