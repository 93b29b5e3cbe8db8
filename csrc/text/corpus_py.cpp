// Python bindings of the corpus reader. Every wait for worker threads happens without the GIL, and
// none of them lasts longer than a few chunks take, so that Ctrl-C is answered at once.
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>

#include "text/corpus.h"
#include "text/module.h"

namespace py = pybind11;

namespace lexforge::text {
namespace {

std::string_view utf8(py::handle word) {
  if (!PyUnicode_Check(word.ptr())) {
    throw py::type_error("a sentence must be a list of str, got an element of type " +
                         std::string(Py_TYPE(word.ptr())->tp_name));
  }
  Py_ssize_t size;
  const char* bytes = PyUnicode_AsUTF8AndSize(word.ptr(), &size);
  if (!bytes) throw py::error_already_set();  // UnicodeEncodeError: a lone surrogate
  return {bytes, static_cast<size_t>(size)};
}

ReaderOptions make_options(int threads, size_t chunk_bytes, const std::string& errors,
                           std::vector<uint32_t> lowercase) {
  if (threads < 1) throw py::value_error("threads must be >= 1, got " + std::to_string(threads));
  if (chunk_bytes < 1) throw py::value_error("chunk_bytes must be >= 1, got 0");
  ReaderOptions options;
  options.threads = threads;
  options.chunk_bytes = chunk_bytes;
  options.lowercase = std::move(lowercase);
  if (errors == "replace") {
    options.errors = BadUtf8::kReplace;
  } else if (errors == "strict") {
    options.errors = BadUtf8::kStrict;
  } else if (errors == "skip") {
    options.errors = BadUtf8::kSkip;
  } else {
    throw py::value_error("errors must be 'replace', 'strict' or 'skip', got '" + errors + "'");
  }
  return options;
}

// Sentences of words become one framed block (see corpus.h).
std::string frame(const py::iterable& sentences) {
  std::string block;
  for (const py::handle sentence : sentences) {
    if (PyUnicode_Check(sentence.ptr()) || !py::isinstance<py::iterable>(sentence)) {
      throw py::type_error("a sentence must be a list of str, got " +
                           std::string(Py_TYPE(sentence.ptr())->tp_name) +
                           " (split lines into words first)");
    }
    for (const py::handle word : py::reinterpret_borrow<py::iterable>(sentence)) {
      block += utf8(word);
      block += '\xFF';
    }
    block += '\xFE';
  }
  return block;
}

template <typename Reader>
void bind_feeding(py::class_<Reader>& reader) {
  reader
      .def(
          "begin_document",
          [](Reader& self, std::string name, bool framed) {
            self.pipeline().begin_document(std::move(name), framed);
          },
          py::arg("name"), py::arg("framed") = false)
      .def(
          "feed",
          [](Reader& self, const py::buffer& buffer) {
            const py::buffer_info info = buffer.request();
            const std::string_view bytes(static_cast<const char*>(info.ptr),
                                         info.size * info.itemsize);
            const py::gil_scoped_release nogil;
            self.pipeline().feed(bytes);
          },
          py::arg("bytes"))
      .def(
          "feed_sentences",
          [](Reader& self, const py::iterable& sentences) {
            const std::string block = frame(sentences);
            const py::gil_scoped_release nogil;
            self.pipeline().feed(block);
          },
          py::arg("sentences"), "Lists of str, into a document begun with framed=True.")
      .def(
          "end_document", [](Reader& self) { self.pipeline().end_document(); },
          py::call_guard<py::gil_scoped_release>())
      .def("finish", &Reader::finish, py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void register_corpus(py::module_& m) {
  py::register_local_exception_translator([](std::exception_ptr exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const std::system_error& error) {
      // OSError(errno, message) picks its own subclass.
      const py::tuple arguments = py::make_tuple(error.code().value(), error.what());
      PyErr_SetObject(PyExc_OSError, arguments.ptr());
    }
  });

  py::class_<WordCounter> counter(m, "WordCounter", "Counts the words of documents fed in order.");
  counter
      .def(py::init([](int threads, size_t chunk_bytes, const std::string& errors,
                       std::vector<uint32_t> lowercase) {
             return std::make_unique<WordCounter>(
                 make_options(threads, chunk_bytes, errors, std::move(lowercase)));
           }),
           py::kw_only(), py::arg("threads"), py::arg("chunk_bytes"), py::arg("errors"),
           py::arg("lowercase"))
      .def_property_readonly("tokens", &WordCounter::tokens)
      .def_property_readonly("types", &WordCounter::types)
      .def_property_readonly("largest_count", &WordCounter::largest_count)
      .def(
          "words",
          [](const WordCounter& self, uint64_t min_count, uint64_t max_words) {
            std::vector<const WordTable::Entry*> entries;
            {
              const py::gil_scoped_release nogil;
              entries = self.words(min_count, max_words);
            }
            py::list words(entries.size());
            std::vector<int64_t> counts(entries.size());
            for (size_t i = 0; i < entries.size(); ++i) {
              if (i % (1 << 16) == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
              words[i] = py::str(entries[i]->data, entries[i]->length);
              counts[i] = static_cast<int64_t>(entries[i]->count);
            }
            return py::make_tuple(words, py::bytes(reinterpret_cast<const char*>(counts.data()),
                                                   counts.size() * sizeof(int64_t)));
          },
          py::arg("min_count"), py::arg("max_words"),
          "(list of str, their counts as the bytes of an int64 array), by descending count.");
  bind_feeding(counter);

  py::class_<CorpusEncoder> encoder(m, "CorpusEncoder",
                                    "Writes the word ids of documents fed in order.");
  encoder
      .def(py::init([](const py::list& words, uint64_t max_sentence_length,
                       const std::string& tokens_path, const std::string& offsets_path, int threads,
                       size_t chunk_bytes, const std::string& errors,
                       std::vector<uint32_t> lowercase) {
             if (max_sentence_length < 1) {
               throw py::value_error("max_sentence_length must be >= 1, got 0");
             }
             std::vector<std::string_view> views;
             views.reserve(words.size());
             for (const py::handle word : words) views.push_back(utf8(word));
             return std::make_unique<CorpusEncoder>(
                 make_options(threads, chunk_bytes, errors, std::move(lowercase)), views,
                 max_sentence_length, tokens_path, offsets_path);
           }),
           py::kw_only(), py::arg("words"), py::arg("max_sentence_length"), py::arg("tokens_path"),
           py::arg("offsets_path"), py::arg("threads"), py::arg("chunk_bytes"), py::arg("errors"),
           py::arg("lowercase"))
      .def_property_readonly("tokens", &CorpusEncoder::tokens)
      .def_property_readonly("sentences", &CorpusEncoder::sentences)
      .def_property_readonly("unknown", &CorpusEncoder::unknown);
  bind_feeding(encoder);
}

}  // namespace lexforge::text
