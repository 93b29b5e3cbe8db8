// C interface of predictions for lines of text.
#include "text/c_interface.h"
#include "text/line_predictor.h"
#include "text/matrix_rows.h"

namespace lexforge::text {
namespace {

void give(const LinePredictor::Found& found, std::string** ends, std::string** labels,
          std::string** probabilities) {
  auto a = bytes_of(found.ends), b = bytes_of(found.labels), c = bytes_of(found.probabilities);
  *ends = a.release();
  *labels = b.release();
  *probabilities = c.release();
}

}  // namespace

// `features` and both matrices are borrowed until the predictor is freed; paths are looked at here.
LEXFORGE_TEXT_API int lexforge_predictor_new(const LineFeatures* features, const MatrixRows* input,
                                             const MatrixRows* output, int loss,
                                             const int64_t* path_offsets, const int32_t* path_nodes,
                                             bool exact, LinePredictor** made) {
  return checked([&] {
    *made = new LinePredictor(*features, *input, *output, static_cast<LinePredictor::Loss>(loss),
                              path_offsets, path_nodes, exact);
  });
}

LEXFORGE_TEXT_API void lexforge_predictor_free(LinePredictor* predictor) { delete predictor; }

LEXFORGE_TEXT_API int lexforge_predictor_hidden(const LinePredictor* predictor,
                                                const int64_t* row_ends, int64_t lines,
                                                const int32_t* rows, float* hidden, int threads) {
  return checked([&] {
    predictor->hidden({row_ends, static_cast<size_t>(lines) + 1}, rows, hidden, threads);
  });
}

// As int64 where the labels of each line end, behind a 0; as int32 and float all of them.
LEXFORGE_TEXT_API int lexforge_predictor_predict(
    const LinePredictor* predictor, const int64_t* row_ends, int64_t lines, const int32_t* rows,
    const float* inputs, const float* scores, int64_t k, float threshold, int threads,
    std::string** ends, std::string** labels, std::string** probabilities) {
  return checked([&] {
    give(predictor->predict({row_ends, static_cast<size_t>(lines) + 1}, rows, inputs, scores, k,
                            threshold, threads),
         ends, labels, probabilities);
  });
}

// Of one line how many labels are found, [1], the labels [k] and their probabilities [k].
LEXFORGE_TEXT_API int lexforge_predictor_line(const LinePredictor* predictor, const char* text,
                                              int64_t size, int64_t k, float threshold,
                                              int64_t* found) {
  return checked([&] {
    found[0] = predictor->predict({text, static_cast<size_t>(size)}, k, threshold, found + 1,
                                  reinterpret_cast<double*>(found + 1 + k));
  });
}

// The input of one line, hidden [dim].
LEXFORGE_TEXT_API int lexforge_predictor_line_hidden(const LinePredictor* predictor,
                                                     const char* text, int64_t size,
                                                     float* hidden) {
  return checked([&] { predictor->hidden({text, static_cast<size_t>(size)}, hidden); });
}

}  // namespace lexforge::text
