// Each feature of lexforge._text registers itself through one function named here.
#pragma once

#include <pybind11/pybind11.h>

namespace lexforge::text {

void register_bert_examples(pybind11::module_& m);
void register_corpus(pybind11::module_& m);
void register_vector_file(pybind11::module_& m);

}  // namespace lexforge::text
