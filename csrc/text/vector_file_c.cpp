// C interface of the vector-file rows: bytes in, tokens and a float32 matrix out.
#include <memory>
#include <string>
#include <vector>

#include "text/c_interface.h"
#include "text/threads.h"
#include "text/vector_file.h"

namespace lexforge::text {

LEXFORGE_TEXT_API int lexforge_rows_new(int64_t dim, bool dim_told, bool binary, int64_t max_rows,
                                        bool allow_nonfinite, int threads, VectorRows** made) {
  return checked([&] {
    const RowLayout layout = binary ? RowLayout::kBinary : RowLayout::kText;
    *made = new VectorRows(dim, dim_told, layout, max_rows, allow_nonfinite, threads);
  });
}

LEXFORGE_TEXT_API void lexforge_rows_free(VectorRows* rows) { delete rows; }

LEXFORGE_TEXT_API int lexforge_rows_feed(VectorRows* rows, const char* block, int64_t size,
                                         bool last, int64_t* consumed) {
  return checked([&] { *consumed = rows->feed({block, static_cast<size_t>(size)}, last); });
}

LEXFORGE_TEXT_API int64_t lexforge_rows_count(const VectorRows* rows) { return rows->rows(); }
LEXFORGE_TEXT_API bool lexforge_rows_full(const VectorRows* rows) { return rows->full(); }
LEXFORGE_TEXT_API float* lexforge_rows_values(VectorRows* rows) { return rows->values(); }

LEXFORGE_TEXT_API const std::string* lexforge_rows_tokens(const VectorRows* rows) {
  return &rows->tokens();
}
LEXFORGE_TEXT_API void lexforge_rows_drop_tokens(VectorRows* rows) { rows->drop_tokens(); }

LEXFORGE_TEXT_API int64_t lexforge_count_numbers(const char* row, int64_t size) {
  return count_numbers({row, static_cast<size_t>(size)});
}

LEXFORGE_TEXT_API bool lexforge_ends_in_number(const char* token, int64_t size) {
  return ends_in_number({token, static_cast<size_t>(size)});
}

// Rows of tokens (words, each followed by 0xFF; null: of numbers alone) in so many parts, to be
// written in order, each made by a thread of its own.
LEXFORGE_TEXT_API int lexforge_format_text(const char* words, int64_t words_size,
                                           const float* vectors, int64_t rows, int64_t dim,
                                           char separator, std::string** parts, int num_parts) {
  return checked([&] {
    std::vector<std::string_view> tokens(rows);
    if (words) tokens = framed_words({words, static_cast<size_t>(words_size)}, rows);
    std::vector<std::unique_ptr<std::string>> texts(num_parts);
    for (auto& text : texts) text = std::make_unique<std::string>();
    run_parts(num_parts, [&](int64_t part) {
      for (int64_t row = rows * part / num_parts; row < rows * (part + 1) / num_parts; ++row) {
        format_text_row(tokens[row], {vectors + row * dim, static_cast<size_t>(dim)}, separator,
                        *texts[part]);
      }
    });
    for (int part = 0; part < num_parts; ++part) parts[part] = texts[part].release();
  });
}

LEXFORGE_TEXT_API int lexforge_format_binary(const char* words, int64_t words_size,
                                             const float* vectors, int64_t rows, int64_t dim,
                                             std::string** made) {
  return checked([&] {
    auto text = std::make_unique<std::string>();
    for (const auto word : framed_words({words, static_cast<size_t>(words_size)}, rows)) {
      text->append(word).push_back(' ');
      text->append(reinterpret_cast<const char*>(vectors), sizeof(float) * dim).push_back('\n');
      vectors += dim;
    }
    *made = text.release();
  });
}

}  // namespace lexforge::text
