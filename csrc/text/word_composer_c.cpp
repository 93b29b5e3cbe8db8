// C interface of words' vectors.
#include "text/c_interface.h"
#include "text/word_composer.h"

namespace lexforge::text {

// All but the matrices' descriptions is borrowed until the composer is freed.
LEXFORGE_TEXT_API int lexforge_composer_new(const WordIndex* index, const SubwordRows* subwords,
                                            const MatrixRows* own, const MatrixRows* ngrams,
                                            int64_t first, bool mean, WordComposer** made) {
  return checked([&] { *made = new WordComposer(index, *subwords, *own, *ngrams, first, mean); });
}

LEXFORGE_TEXT_API void lexforge_composer_free(WordComposer* composer) { delete composer; }

LEXFORGE_TEXT_API int lexforge_composer_word(const WordComposer* composer, const char* word,
                                             int64_t size, int64_t row, float* vector) {
  return checked([&] { composer->word({word, static_cast<size_t>(size)}, row, vector); });
}

LEXFORGE_TEXT_API int lexforge_composer_line(const WordComposer* composer, const char* line,
                                             int64_t size, float* vector) {
  return checked([&] { composer->line({line, static_cast<size_t>(size)}, vector); });
}

}  // namespace lexforge::text
