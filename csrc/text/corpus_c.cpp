// C interface of the corpus reader. No wait for worker threads lasts longer than a few chunks take,
// so that Ctrl-C, which Python looks for between two calls, is answered at once.
#include "text/corpus_c.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "text/c_interface.h"

namespace lexforge::text {
namespace {

const WordCounter& counter(const Reader* reader) {
  return static_cast<const WordCounter&>(*reader);
}
const CorpusEncoder& encoder(const Reader* reader) {
  return static_cast<const CorpusEncoder&>(*reader);
}

}  // namespace

LEXFORGE_TEXT_API int lexforge_counter_new(int threads, int64_t chunk_bytes, int errors,
                                           const uint32_t* lowercase, int64_t lowercase_size,
                                           Reader** made) {
  return checked([&] {
    *made = new WordCounter(make_options(threads, chunk_bytes, errors, lowercase, lowercase_size));
  });
}

LEXFORGE_TEXT_API int lexforge_encoder_new(const char* words, int64_t words_size, int64_t num_words,
                                           int64_t max_sentence_length, const char* tokens_path,
                                           const char* offsets_path, int threads,
                                           int64_t chunk_bytes, int errors,
                                           const uint32_t* lowercase, int64_t lowercase_size,
                                           Reader** made) {
  return checked([&] {
    const std::string_view block(words, words_size);
    *made = new CorpusEncoder(make_options(threads, chunk_bytes, errors, lowercase, lowercase_size),
                              framed_words(block, num_words), max_sentence_length, tokens_path,
                              offsets_path);
  });
}

LEXFORGE_TEXT_API void lexforge_reader_free(Reader* reader) { delete reader; }

LEXFORGE_TEXT_API int lexforge_reader_begin(Reader* reader, const char* name, int64_t size,
                                            bool framed) {
  return checked([&] { reader->pipeline().begin_document(std::string(name, size), framed); });
}

LEXFORGE_TEXT_API int lexforge_reader_feed(Reader* reader, const char* bytes, int64_t size) {
  return checked([&] { reader->pipeline().feed({bytes, static_cast<size_t>(size)}); });
}

LEXFORGE_TEXT_API int lexforge_reader_end(Reader* reader) {
  return checked([&] { reader->pipeline().end_document(); });
}

LEXFORGE_TEXT_API int lexforge_reader_finish(Reader* reader) {
  return checked([&] { reader->finish(); });
}

LEXFORGE_TEXT_API uint64_t lexforge_reader_tokens(const Reader* reader) { return reader->tokens(); }

LEXFORGE_TEXT_API uint64_t lexforge_counter_types(const Reader* reader) {
  return counter(reader).types();
}

LEXFORGE_TEXT_API uint64_t lexforge_counter_largest(const Reader* reader) {
  return counter(reader).largest_count();
}

// The words, each followed by the separator, and their counts as int64.
LEXFORGE_TEXT_API int lexforge_counter_words(const Reader* reader, int64_t min_count,
                                             int64_t max_words, char separator, std::string** words,
                                             std::string** counts) {
  return checked([&] {
    const auto entries = counter(reader).words(min_count, max_words);
    size_t size = entries.size();
    for (const auto* entry : entries) size += entry->length;
    auto block = std::make_unique<std::string>(), numbers = std::make_unique<std::string>();
    block->reserve(size);
    numbers->reserve(entries.size() * sizeof(int64_t));
    for (const auto* entry : entries) {
      block->append(entry->word()).push_back(separator);
      numbers->append(reinterpret_cast<const char*>(&entry->count), sizeof(int64_t));
    }
    *words = block.release();
    *counts = numbers.release();
  });
}

LEXFORGE_TEXT_API uint64_t lexforge_encoder_sentences(const Reader* reader) {
  return encoder(reader).sentences();
}

LEXFORGE_TEXT_API uint64_t lexforge_encoder_unknown(const Reader* reader) {
  return encoder(reader).unknown();
}

}  // namespace lexforge::text
