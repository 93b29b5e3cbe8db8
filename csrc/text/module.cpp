// lexforge._text: the text side, without torch.
#include <pybind11/pybind11.h>

PYBIND11_MODULE(_text, m) { m.doc() = "Corpus reader, vocabulary and vector-file parsing."; }
