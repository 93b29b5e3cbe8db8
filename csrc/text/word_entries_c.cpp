// C interface of a fastText model's dictionary.
#include "text/c_interface.h"
#include "text/word_entries.h"

namespace lexforge::text {

LEXFORGE_TEXT_API int lexforge_entries_measure(const char* block, int64_t size, int64_t count,
                                               int64_t sizes[2]) {
  return checked([&] {
    const EntrySizes found = measure_entries({block, static_cast<size_t>(size)}, count);
    sizes[0] = found.bytes;
    sizes[1] = found.tokens;
  });
}

LEXFORGE_TEXT_API int64_t lexforge_entries_split(const char* block, int64_t size, int64_t count,
                                                 char* tokens, int64_t* offsets, int64_t* counts) {
  return split_entries({block, static_cast<size_t>(size)}, count, tokens, offsets, counts);
}

LEXFORGE_TEXT_API int lexforge_word_index_new(const char* bytes, const int64_t* offsets,
                                              int64_t count, WordIndex** made) {
  return checked([&] { *made = new WordIndex({bytes, offsets, count}); });
}

LEXFORGE_TEXT_API void lexforge_word_index_free(WordIndex* index) { delete index; }

LEXFORGE_TEXT_API int64_t lexforge_word_index_find(const WordIndex* index, const char* word,
                                                   int64_t size) {
  return index->find({word, static_cast<size_t>(size)});
}

}  // namespace lexforge::text
