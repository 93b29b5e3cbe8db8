// lexforge._text: the text side, without torch.
#include "text/module.h"

PYBIND11_MODULE(_text, m) {
  m.doc() = "Corpus reader, vocabulary, BERT examples and vector-file parsing.";
  lexforge::text::register_bert_examples(m);
  lexforge::text::register_corpus(m);
  lexforge::text::register_vector_file(m);
}
