// Python face of the vector-file rows: bytes in, words and a float32 matrix out.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <thread>

#include "text/module.h"
#include "text/vector_file.h"

namespace py = pybind11;

namespace lexforge::text {
namespace {

// The words of all rows; None for a token that is not UTF-8 when errors is "skip".
py::list take_words(VectorRows& rows, const std::string& errors) {
  const char* policy = errors == "replace" ? "replace" : "strict";
  py::list words(rows.rows());
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const std::string_view token = rows.token(row);
    PyObject* word =
        PyUnicode_DecodeUTF8(token.data(), static_cast<Py_ssize_t>(token.size()), policy);
    if (word == nullptr) {
      PyErr_Clear();
      if (errors != "skip") {
        throw py::value_error("row " + std::to_string(row + 1) + ": token " +
                              std::string(py::repr(py::bytes(token.data(), token.size()))) +
                              " is not UTF-8; errors=\"replace\" or \"skip\" reads on");
      }
      word = py::none().release().ptr();
    }
    PyList_SET_ITEM(words.ptr(), row, word);
  }
  rows.drop_tokens();
  return words;
}

std::vector<std::string_view> utf8_views(const py::sequence& words) {
  std::vector<std::string_view> views;
  views.reserve(words.size());
  for (const py::handle word : words) {
    Py_ssize_t size = 0;
    // The text lives as long as the str, which the caller's list keeps alive.
    const char* text = PyUnicode_AsUTF8AndSize(word.ptr(), &size);
    if (text == nullptr) throw py::error_already_set();
    views.emplace_back(text, size);
  }
  return views;
}

struct Matrix {
  const float* values;
  int64_t rows, dim;
};

Matrix checked_matrix(const py::buffer_info& info, size_t words) {
  if (info.format != py::format_descriptor<float>::format() || info.ndim != 2 ||
      info.strides[1] != sizeof(float) ||
      info.strides[0] != static_cast<py::ssize_t>(sizeof(float)) * info.shape[1]) {
    throw py::value_error("format_rows: vectors must be contiguous float32 [V, D]");
  }
  if (info.shape[0] != static_cast<py::ssize_t>(words)) {
    throw py::value_error("format_rows: vectors must have " + std::to_string(words) +
                          " rows, got " + std::to_string(info.shape[0]));
  }
  return {static_cast<const float*>(info.ptr), info.shape[0], info.shape[1]};
}

// One bytes object per thread, to be written in order.
py::list format_text_rows(const py::sequence& words, const py::buffer& vectors, char separator,
                          bool with_words, int threads) {
  const auto views = utf8_views(words);
  const py::buffer_info info = vectors.request();
  const Matrix matrix = checked_matrix(info, views.size());
  const int64_t parts = std::clamp<int64_t>(matrix.rows / 64, 1, std::max(threads, 1));
  std::vector<std::string> texts(parts);
  {
    const py::gil_scoped_release unlocked;
    const auto format = [&](int64_t part) {
      const int64_t end = matrix.rows * (part + 1) / parts;
      for (int64_t row = matrix.rows * part / parts; row < end; ++row) {
        format_text_row(with_words ? views[row] : std::string_view(),
                        {matrix.values + row * matrix.dim, static_cast<size_t>(matrix.dim)},
                        separator, texts[part]);
      }
    };
    std::vector<std::jthread> workers;
    for (int64_t part = 1; part < parts; ++part) workers.emplace_back(format, part);
    format(0);
  }
  py::list result;
  for (const std::string& text : texts) result.append(py::bytes(text));
  return result;
}

py::bytes format_binary_rows(const py::sequence& words, const py::buffer& vectors) {
  const auto views = utf8_views(words);
  const py::buffer_info info = vectors.request();
  const Matrix matrix = checked_matrix(info, views.size());
  std::string rows;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    rows.append(views[row]).push_back(' ');
    rows.append(reinterpret_cast<const char*>(matrix.values + row * matrix.dim),
                sizeof(float) * matrix.dim);
    rows.push_back('\n');
  }
  return py::bytes(rows);
}

}  // namespace

void register_vector_file(py::module_& m) {
  py::class_<VectorRows>(m, "VectorRows", py::buffer_protocol(),
                         "Rows of a vector file, collected block by block; a float32 [rows, dim] "
                         "buffer once everything was fed.")
      .def(py::init(
               [](int64_t dim, bool binary, int64_t max_rows, bool allow_nonfinite, int threads) {
                 return std::make_unique<VectorRows>(dim,
                                                     binary ? RowLayout::kBinary : RowLayout::kText,
                                                     max_rows, allow_nonfinite, threads);
               }),
           py::kw_only(), py::arg("dim"), py::arg("binary"), py::arg("max_rows"),
           py::arg("allow_nonfinite"), py::arg("threads"))
      .def(
          "feed",
          [](VectorRows& rows, const py::bytes& block, bool last) {
            const std::string_view view = block;
            const py::gil_scoped_release unlocked;
            return rows.feed(view, last);
          },
          py::arg("block"), py::arg("last"),
          "Take the complete rows at the start of `block`; returns the bytes they fill.")
      .def("__len__", &VectorRows::rows)
      .def_property_readonly("full", &VectorRows::full)
      .def("take_words", &take_words, py::arg("errors"))
      .def_buffer([](VectorRows& rows) {
        return py::buffer_info(rows.values(), {rows.rows(), rows.dim()},
                               {static_cast<py::ssize_t>(sizeof(float)) * rows.dim(),
                                static_cast<py::ssize_t>(sizeof(float))});
      });
  m.def(
      "count_numbers", [](const py::bytes& row) { return count_numbers(std::string_view(row)); },
      py::arg("row"), "How many numbers end this text row, leaving a token in front of them.");
  m.def(
      "ends_in_number", [](const std::string& token) { return ends_in_number(token); },
      py::arg("token"),
      "Whether the last of several space-separated parts of this token is a number.");
  m.def("format_text_rows", &format_text_rows, py::arg("words"), py::arg("vectors"), py::kw_only(),
        py::arg("separator") = ' ', py::arg("with_words") = true, py::arg("threads") = 1);
  m.def("format_binary_rows", &format_binary_rows, py::arg("words"), py::arg("vectors"));
}

}  // namespace lexforge::text
