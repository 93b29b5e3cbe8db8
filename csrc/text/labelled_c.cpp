// C interface of text with labels.
#include <memory>
#include <string>
#include <vector>

#include "text/c_interface.h"
#include "text/corpus_c.h"
#include "text/labelled.h"

namespace lexforge::text {
namespace {

const LabelledEncoder& labelled(const Reader* reader) {
  return static_cast<const LabelledEncoder&>(*reader);
}

}  // namespace

// `paths` are those of LabelledEncoder::Paths in order.
LEXFORGE_TEXT_API int lexforge_labelled_new(const char* prefix, int64_t prefix_size,
                                            const char* known, const int64_t* known_offsets,
                                            int64_t known_count, const char* const* paths,
                                            int threads, int64_t chunk_bytes, Reader** made) {
  return checked([&] {
    ReaderOptions options;
    options.threads = threads;
    options.chunk_bytes = static_cast<size_t>(chunk_bytes);
    *made = new LabelledEncoder(options, std::string(prefix, prefix_size),
                                {known, known_offsets, known_count},
                                {paths[0], paths[1], paths[2], paths[3]});
  });
}

LEXFORGE_TEXT_API uint64_t lexforge_labelled_lines(const Reader* reader) {
  return labelled(reader).lines();
}

// All words and labels one behind the other, as int64 where each begins and the last one ends,
// their counts, and as a byte whether each is a label.
LEXFORGE_TEXT_API int lexforge_labelled_types(const Reader* reader, std::string** bytes,
                                              std::string** offsets, std::string** counts,
                                              std::string** is_label) {
  return checked([&] {
    const LabelledEncoder& encoder = labelled(reader);
    const WordTable& types = encoder.types();
    auto text = std::make_unique<std::string>(), flags = std::make_unique<std::string>();
    std::vector<int64_t> begins{0}, numbers;
    for (uint32_t type = 0; type < types.size(); ++type) {
      text->append(types[type].word());
      begins.push_back(static_cast<int64_t>(text->size()));
      numbers.push_back(static_cast<int64_t>(types[type].count));
      flags->push_back(static_cast<char>(encoder.is_label(type)));
    }
    auto ends = bytes_of(begins), sums = bytes_of(numbers);
    *bytes = text.release();
    *offsets = ends.release();
    *counts = sums.release();
    *is_label = flags.release();
  });
}

// The hash of each word, as int32.
LEXFORGE_TEXT_API void lexforge_word_hashes(const char* bytes, const int64_t* offsets,
                                            int64_t count, int32_t* hashes) {
  const WordSpans words{bytes, offsets, count};
  for (int64_t i = 0; i < count; ++i) hashes[i] = static_cast<int32_t>(hash_ngram(words[i]));
}

LEXFORGE_TEXT_API int lexforge_features_new(const char* words, const int64_t* word_offsets,
                                            int64_t word_count, const char* labels,
                                            const int64_t* label_offsets, int64_t label_count,
                                            const char* prefix, int64_t prefix_size, int32_t min_n,
                                            int32_t max_n, int32_t word_ngrams, int64_t buckets,
                                            const SubwordRows* pruned, LineFeatures** made) {
  return checked([&] {
    *made = new LineFeatures({words, word_offsets, word_count},
                             {labels, label_offsets, label_count}, std::string(prefix, prefix_size),
                             {min_n, max_n, word_ngrams, buckets}, pruned);
  });
}

LEXFORGE_TEXT_API void lexforge_features_free(LineFeatures* features) { delete features; }

// As int64 where the rows, and the labels, of each line end, behind a 0, and all as int32.
LEXFORGE_TEXT_API int lexforge_features_read(const LineFeatures* features, const char* text,
                                             int64_t size, bool whole, int threads,
                                             std::string** row_ends, std::string** rows,
                                             std::string** label_ends, std::string** labels,
                                             int64_t* tokens) {
  return checked([&] {
    const auto lines = features->read({text, static_cast<size_t>(size)}, whole, threads);
    auto a = bytes_of(lines.row_ends), b = bytes_of(lines.rows), c = bytes_of(lines.label_ends),
         d = bytes_of(lines.labels);
    *row_ends = a.release();
    *rows = b.release();
    *label_ends = c.release();
    *labels = d.release();
    *tokens = lines.tokens;
  });
}

}  // namespace lexforge::text
