// C interface of phrases. A table is borrowed by what reads into it or from it.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/c_interface.h"
#include "text/corpus_c.h"
#include "text/phrases.h"

namespace lexforge::text {
namespace {

Scoring make_scoring(int kind, double threshold, double min_count, uint64_t corpus_words) {
  return {static_cast<Scoring::Kind>(kind), threshold, min_count, corpus_words};
}

}  // namespace

LEXFORGE_TEXT_API int lexforge_phrases_new(const char* delimiter, int64_t delimiter_size,
                                           const char* connectors, int64_t connectors_size,
                                           int64_t num_connectors, PhraseTable** made) {
  return checked([&] {
    const auto words =
        framed_words({connectors, static_cast<size_t>(connectors_size)}, num_connectors);
    *made = new PhraseTable(std::string(delimiter, delimiter_size), {words.begin(), words.end()});
  });
}

LEXFORGE_TEXT_API void lexforge_phrases_free(PhraseTable* table) { delete table; }

LEXFORGE_TEXT_API int64_t lexforge_phrases_size(const PhraseTable* table) { return table->size(); }

// Gives texts, framed, their values.
LEXFORGE_TEXT_API int lexforge_phrases_add(PhraseTable* table, const char* texts, int64_t size,
                                           int64_t count, const uint64_t* values) {
  return checked([&] {
    const auto words = framed_words({texts, static_cast<size_t>(size)}, count);
    for (int64_t i = 0; i < count; ++i) table->value(table->add(words[i])) = values[i];
  });
}

// The value of a text, 0 where there is none.
LEXFORGE_TEXT_API int lexforge_phrases_value(const PhraseTable* table, const char* text,
                                             int64_t size, uint64_t* value) {
  return checked([&] {
    const uint32_t entry = table->find({text, static_cast<size_t>(size)});
    *value = entry == PhraseTable::kAbsent ? 0 : table->value(entry);
  });
}

// All texts in order, each followed by the separator, and their values as uint64.
LEXFORGE_TEXT_API int lexforge_phrases_texts(const PhraseTable* table, char separator,
                                             std::string** texts, std::string** values) {
  return checked([&] {
    auto block = std::make_unique<std::string>();
    std::vector<uint64_t> numbers(table->size());
    for (uint32_t entry = 0; entry < table->size(); ++entry) {
      table->append_text(entry, *block);
      block->push_back(separator);
      numbers[entry] = table->value(entry);
    }
    *values = bytes_of(numbers).release();
    *texts = block.release();
  });
}

LEXFORGE_TEXT_API int lexforge_phrases_merge(PhraseTable* table, const PhraseTable* other) {
  return checked([&] { table->merge(*other); });
}

LEXFORGE_TEXT_API int lexforge_phrases_prune(PhraseTable* table, uint64_t least) {
  return checked([&] { table->prune(least); });
}

// The phrases, each followed by the separator, their scores as double, and as uint64 the counts of
// the first word, of the last and of the whole.
LEXFORGE_TEXT_API int lexforge_phrases_scored(const PhraseTable* table, int kind, double threshold,
                                              double min_count, uint64_t corpus_words,
                                              char separator, std::string** texts,
                                              std::string** scores, std::string** counts) {
  return checked([&] {
    auto block = std::make_unique<std::string>();
    std::vector<double> found;
    std::vector<uint64_t> numbers;
    for (const auto& phrase :
         table->phrases(make_scoring(kind, threshold, min_count, corpus_words))) {
      table->append_text(phrase.entry, *block);
      block->push_back(separator);
      found.push_back(phrase.score);
      numbers.insert(numbers.end(), {phrase.count_a, phrase.count_b, table->value(phrase.entry)});
    }
    auto first = bytes_of(found), second = bytes_of(numbers);
    *texts = block.release();
    *scores = first.release();
    *counts = second.release();
  });
}

// Of each phrase in framed sentences: int32 sentence, first word, behind the last; its score.
LEXFORGE_TEXT_API int lexforge_phrases_match(const PhraseTable* table, int kind, double threshold,
                                             double min_count, uint64_t corpus_words,
                                             const char* framed, int64_t size, std::string** spans,
                                             std::string** scores, int64_t* empty) {
  return checked([&] {
    const auto found = match_phrases(*table, make_scoring(kind, threshold, min_count, corpus_words),
                                     {framed, static_cast<size_t>(size)});
    auto first = bytes_of(found.spans), second = bytes_of(found.scores);
    *spans = first.release();
    *scores = second.release();
    *empty = found.empty;
  });
}

LEXFORGE_TEXT_API int lexforge_phrase_counter_new(PhraseTable* table, uint64_t max_texts,
                                                  int threads, int64_t chunk_bytes, int errors,
                                                  const uint32_t* lowercase, int64_t lowercase_size,
                                                  Reader** made) {
  return checked([&] {
    *made = new PhraseCounter(make_options(threads, chunk_bytes, errors, lowercase, lowercase_size),
                              *table, max_texts);
  });
}

LEXFORGE_TEXT_API uint64_t lexforge_phrase_counter_least(const Reader* reader) {
  return static_cast<const PhraseCounter&>(*reader).least();
}

LEXFORGE_TEXT_API int lexforge_phrase_joiner_new(const PhraseTable* table, int kind,
                                                 double threshold, double min_count,
                                                 uint64_t corpus_words, int threads,
                                                 int64_t chunk_bytes, int errors,
                                                 const uint32_t* lowercase, int64_t lowercase_size,
                                                 Reader** made) {
  return checked([&] {
    *made = new PhraseJoiner(make_options(threads, chunk_bytes, errors, lowercase, lowercase_size),
                             *table, make_scoring(kind, threshold, min_count, corpus_words));
  });
}

LEXFORGE_TEXT_API int lexforge_phrase_joiner_take(Reader* reader, std::string** text) {
  return checked([&] { *text = new std::string(static_cast<PhraseJoiner&>(*reader).take()); });
}

// The phrases that were joined, each followed by the separator, their scores as double, and as
// uint64 how often.
LEXFORGE_TEXT_API int lexforge_phrase_joiner_phrases(const Reader* reader, char separator,
                                                     std::string** texts, std::string** scores,
                                                     std::string** counts) {
  return checked([&] {
    const WordTable& phrases = static_cast<const PhraseJoiner&>(*reader).phrases();
    auto block = std::make_unique<std::string>();
    std::vector<uint64_t> bits, numbers;
    for (uint32_t i = 0; i < phrases.size(); ++i) {
      block->append(phrases[i].word()).push_back(separator);
      bits.push_back(phrases[i].first);
      numbers.push_back(phrases[i].count);
    }
    auto first = bytes_of(bits), second = bytes_of(numbers);
    *texts = block.release();
    *scores = first.release();
    *counts = second.release();
  });
}

}  // namespace lexforge::text
