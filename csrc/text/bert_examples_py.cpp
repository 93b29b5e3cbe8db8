// Python bindings of the BERT examples. Arrays cross as buffers: what they hold is copied in, and
// batches are written into memory that the caller allocated.
#include <pybind11/pybind11.h>

#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "text/bert_examples.h"
#include "text/module.h"

namespace py = pybind11;

namespace lexforge::text {
namespace {

template <typename T>
std::span<T> elements(const py::buffer_info& info, const char* name) {
  if (info.ndim != 1 || !info.item_type_is_equivalent_to<T>() ||
      (info.size > 1 && info.strides[0] != static_cast<py::ssize_t>(sizeof(T)))) {
    throw py::type_error("BertExamples: " + std::string(name) + " must be a contiguous array of " +
                         std::to_string(8 * sizeof(T)) + "-bit integers");
  }
  return {static_cast<T*>(info.ptr), static_cast<size_t>(info.size)};
}

template <typename T>
std::vector<T> copied(const py::buffer& buffer, const char* name) {
  const py::buffer_info info = buffer.request();
  const auto values = elements<T>(info, name);
  return {values.begin(), values.end()};
}

// An epoch's examples in order.
struct BertEpoch {
  std::shared_ptr<const BertExamples> examples;
  uint32_t epoch;
  std::vector<BertPair> pairs;

  std::span<const BertPair> range(int64_t first, int64_t last) const {
    if (first < 0 || last < first || last > static_cast<int64_t>(pairs.size())) {
      throw py::index_error("BertEpoch: examples must be in 0.." + std::to_string(pairs.size()) +
                            ", got " + std::to_string(first) + ".." + std::to_string(last));
    }
    return std::span(pairs).subspan(first, last - first);
  }
  BertBatchSize measure(std::span<const BertPair> batch) const {
    const BertBatchSize size = examples->measure(batch);
    if (size.tokens > std::numeric_limits<int32_t>::max()) {
      throw py::value_error("BertExamples: batch_size must give fewer than 2^31 tokens, got " +
                            std::to_string(size.tokens));
    }
    return size;
  }
};

int checked_threads(int threads) {
  if (threads < 1) throw py::value_error("threads must be >= 1, got " + std::to_string(threads));
  return threads;
}

void fill(const BertEpoch& self, int64_t first, int64_t last, const py::buffer& tokens,
          const py::buffer& segments, const py::buffer& positions, const py::buffer& cu_seqlens,
          const py::buffer& prediction_index, const py::buffer& labels,
          const py::buffer& next_labels, int threads) {
  checked_threads(threads);
  const auto pairs = self.range(first, last);
  const BertBatchSize size = self.measure(pairs);
  // Held to the end: nobody may resize the arrays meanwhile.
  std::vector<py::buffer_info> infos;
  const auto target = [&]<typename T>(T*& pointer, const py::buffer& buffer, const char* name,
                                      int64_t wanted) {
    infos.push_back(buffer.request(/*writable=*/true));
    const auto values = elements<T>(infos.back(), name);
    if (static_cast<int64_t>(values.size()) != wanted) {
      throw py::value_error("BertEpoch: " + std::string(name) + " must hold " +
                            std::to_string(wanted) + " elements, got " +
                            std::to_string(values.size()));
    }
    pointer = values.data();
  };
  const auto sequences = static_cast<int64_t>(pairs.size());
  BertBatch batch;
  target(batch.tokens, tokens, "tokens", size.tokens);
  target(batch.segments, segments, "segments", size.tokens);
  target(batch.positions, positions, "positions", size.tokens);
  target(batch.cu_seqlens, cu_seqlens, "cu_seqlens", sequences + 1);
  target(batch.prediction_index, prediction_index, "prediction_index", size.predictions);
  target(batch.labels, labels, "labels", size.predictions);
  target(batch.next_labels, next_labels, "next_labels", sequences);
  const py::gil_scoped_release nogil;
  self.examples->fill(self.epoch, pairs, batch, threads);
}

}  // namespace

void register_bert_examples(py::module_& m) {
  m.def("prediction_count", &prediction_count, py::arg("tokens"),
        "Predicted tokens of an example of so many.");

  py::class_<BertEpoch>(m, "BertEpoch", "The examples of one epoch, in order.")
      .def("__len__", [](const BertEpoch& self) { return self.pairs.size(); })
      .def(
          "pair",
          [](const BertEpoch& self, int64_t example) {
            const BertPair pair = self.range(example, example + 1)[0];
            return py::make_tuple(pair.first, pair.second);
          },
          py::arg("example"), "The numbers of an example's two sentences in the corpus.")
      .def(
          "measure",
          [](const BertEpoch& self, int64_t first, int64_t last) {
            const BertBatchSize size = self.measure(self.range(first, last));
            return py::make_tuple(size.tokens, size.predictions, size.longest);
          },
          py::arg("first"), py::arg("last"),
          "Tokens, predictions and longest example of examples first .. last - 1.")
      .def("fill", &fill, py::arg("first"), py::arg("last"), py::arg("tokens"), py::arg("segments"),
           py::arg("positions"), py::arg("cu_seqlens"), py::arg("prediction_index"),
           py::arg("labels"), py::arg("next_labels"), py::kw_only(), py::arg("threads"),
           "Writes examples first .. last - 1 into arrays of the right sizes.");

  py::class_<BertExamples, std::shared_ptr<BertExamples>>(m, "BertExamples",
                                                          "Draws sentence pairs and masks them.")
      .def(
          py::init([](const py::buffer& tokens, const py::buffer& sentences,
                      const py::buffer& paragraphs, const py::buffer& ordinary, int32_t mask,
                      int32_t cls, int32_t sep, int64_t max_len, uint64_t seed, bool static_masks) {
            BertCorpus corpus{copied<int32_t>(tokens, "tokens"),
                              copied<int64_t>(sentences, "sentences"),
                              copied<int64_t>(paragraphs, "paragraphs")};
            BertRules rules{
                copied<int32_t>(ordinary, "ordinary"), mask, cls, sep, max_len, seed, static_masks};
            return std::make_shared<BertExamples>(std::move(corpus), std::move(rules));
          }),
          py::kw_only(), py::arg("tokens"), py::arg("sentences"), py::arg("paragraphs"),
          py::arg("ordinary"), py::arg("mask"), py::arg("cls"), py::arg("sep"), py::arg("max_len"),
          py::arg("seed"), py::arg("static_masks"))
      .def(
          "draw",
          [](std::shared_ptr<BertExamples> self, uint32_t epoch, int threads) {
            checked_threads(threads);
            const py::gil_scoped_release nogil;
            auto pairs = self->draw(epoch, threads);
            return std::make_unique<BertEpoch>(BertEpoch{std::move(self), epoch, std::move(pairs)});
          },
          py::arg("epoch"), py::kw_only(), py::arg("threads"));
}

}  // namespace lexforge::text
