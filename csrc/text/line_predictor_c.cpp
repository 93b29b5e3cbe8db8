// C interface of predictions for lines of text.
#include <algorithm>

#include "text/c_interface.h"
#include "text/line_predictor.h"

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
LEXFORGE_TEXT_API int lexforge_predictor_predict(const LinePredictor* predictor,
                                                 const int64_t* row_ends, int64_t lines,
                                                 const int32_t* rows, const float* scores,
                                                 int64_t k, float threshold, int threads,
                                                 std::string** ends, std::string** labels,
                                                 std::string** probabilities) {
  return checked([&] {
    give(predictor->predict({row_ends, static_cast<size_t>(lines) + 1}, rows, scores, k, threshold,
                            threads),
         ends, labels, probabilities);
  });
}

// Of one line how many labels, then those: found [1 + k], probabilities [k].
LEXFORGE_TEXT_API int lexforge_predictor_line(const LinePredictor* predictor, const char* text,
                                              int64_t size, int64_t k, float threshold,
                                              int32_t* found, float* probabilities) {
  return checked([&] {
    const auto labels = predictor->predict({text, static_cast<size_t>(size)}, k, threshold);
    found[0] = static_cast<int32_t>(labels.labels.size());
    std::ranges::copy(labels.labels, found + 1);
    std::ranges::copy(labels.probabilities, probabilities);
  });
}

}  // namespace lexforge::text
