// lexforge._text: the text side, without torch.
#include <pybind11/pybind11.h>

namespace lexforge::text {
void bind_vector_file(pybind11::module_& m);
}  // namespace lexforge::text

PYBIND11_MODULE(_text, m) {
  m.doc() = "Corpus reader, vocabulary and vector-file parsing.";
  lexforge::text::bind_vector_file(m);
}
