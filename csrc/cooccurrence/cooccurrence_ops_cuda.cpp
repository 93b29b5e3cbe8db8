// CUDA binding of cooccurrence.h. A range of rows is cut into parts whose entries fit into the free
// memory, and into 31 bits; their results are put together.
#include "cooccurrence/cooccurrence_rows_cuda.h"

namespace lexforge {
namespace {

using Rows = CooccurrenceRows;

// Most parts for the sake of keys that fit into a NarrowWord: each costs two waits of the host and
// a dozen kernel starts, while keys of twice the size cost half as much again in the sort.
constexpr int64_t kMostNarrowParts = 64;

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  std::tuple<Tensor, Tensor, Tensor> index(const Checks& check, CooccurrenceIndexParams& params,
                                           const Tensor& tokens, int64_t /*threads*/) const {
    const int64_t first = params.first, last = params.last;
    const int64_t vocab_size = params.vocab_size, window = params.window;
    const int64_t centers = last - first;
    check.that(centers <= INT32_MAX, "a chunk must have fewer than 2^31 tokens, got ", centers);
    if (centers == 0) {
      return {empty(tokens, 0, ScalarType::Int),
              new_zeros(tokens, {vocab_size + 1}, ScalarType::Long),
              empty(tokens, 0, ScalarType::Int)};
    }

    CooccurrenceSentences sentences{0, 0, 0, tokens.size(0)};
    if (!params.cross_sentences) {
      Tensor found = empty(tokens, sizeof sentences / sizeof(int64_t), ScalarType::Long);
      auto* device = static_cast<CooccurrenceSentences*>(found.data_ptr());
      launch_cooccurrence_sentences(params, device, stream());
      cooccurrence_read(&sentences, device, sizeof sentences, stream());
      check.that(0 <= sentences.first && sentences.first <= sentences.last &&
                     0 <= sentences.begin && sentences.end <= tokens.size(0),
                 "offsets must rise from 0 to ", tokens.size(0));
    }
    CooccurrenceChunk span{};
    span.begin = std::max(first - window, sentences.begin);
    span.end = std::min(last + window, sentences.end);
    span.first_sentence = sentences.first;
    span.last_sentence = sentences.last;
    span.size = window * (2 + sentences.last - sentences.first) + span.end - span.begin;
    check.that(span.size <= INT32_MAX,
               "a chunk with its separators must have fewer than 2^31 elements, got ", span.size);

    Tensor padded = empty(tokens, span.size, ScalarType::Int);
    Tensor starts = empty(tokens, vocab_size + 1, ScalarType::Long);
    Tensor words[2], places[2];
    for (int i = 0; i < 2; ++i) {
      words[i] = empty(tokens, centers, ScalarType::Int);
      places[i] = empty(tokens, centers, ScalarType::Int);
    }
    Tensor faults =
        new_zeros(tokens, {sizeof(CooccurrenceFaults) / sizeof(int64_t)}, ScalarType::Long);
    params.padded = data<int32_t>(padded);
    params.starts = data<int64_t>(starts);
    launch_cooccurrence_pad(params, span, data<int32_t>(words[0]), data<int32_t>(places[0]),
                            data<CooccurrenceFaults>(faults), stream());
    CooccurrenceBuffers<NarrowWord> keys{{data<NarrowWord>(words[0]), data<NarrowWord>(words[1])},
                                         0};
    CooccurrenceBuffers<NarrowWord> values{
        {data<NarrowWord>(places[0]), data<NarrowWord>(places[1])}, 0};
    with_storage(tokens, [&](void* storage, size_t bytes) {
      return cooccurrence_sort(storage, bytes, keys, values, centers,
                               CooccurrenceKeys::bits_for(vocab_size), stream());
    });
    launch_cooccurrence_starts(params, data<int32_t>(words[keys.current]), stream());
    const auto fault = to_host(data<CooccurrenceFaults>(faults), 1, stream())[0];
    check.that(fault.falling_offsets == 0, "offsets must rise from 0 to ", tokens.size(0));
    check.that(fault.outside == 0, "tokens must be in [0, ", vocab_size, ")");
    return {padded, starts, places[values.current]};
  }

  Rows rows(const Checks& check, const CooccurrenceRowsParams& params, const Tensor& padded,
            int64_t all_centers, int64_t /*threads*/) const {
    const int64_t vocab_size = params.vocab_size, window = params.window;
    const int64_t first_row = params.first_row, rows = params.last_row - first_row;
    const auto host_starts = to_host(params.starts + first_row, rows + 1, stream());
    check.that(host_starts[0] >= 0 && std::is_sorted(host_starts.begin(), host_starts.end()) &&
                   host_starts[rows] <= all_centers,
               "starts must rise from 0 to ", all_centers);

    const int64_t size = padded.size(0), centers = host_starts[rows] - host_starts[0];
    Tensor faults = new_zeros(padded, {2}, ScalarType::Long);
    launch_cooccurrence_check(params.padded, size, 0, vocab_size + 1, data<WideWord>(faults),
                              stream());
    launch_cooccurrence_check(params.positions + host_starts[0], centers, window,
                              std::max(size - 2 * window, int64_t{0}), data<WideWord>(faults) + 1,
                              stream());
    const auto outside = to_host(data<const WideWord>(faults), 2, stream());
    check.that(outside[0] == 0, "padded must be in [0, ", vocab_size, "]");
    check.that(outside[1] == 0, "positions must be in [window, size of padded - window)");

    const RowsCall rows_call{check, params, padded, stream()};

    const int row_bits = 32 - CooccurrenceKeys::bits_for(vocab_size);
    const int64_t narrow_rows = int64_t{1} << row_bits;
    if (cooccurrence_unit(params.window, params.distance_weighting) <= kCooccurrenceNarrowUnit &&
        rows <= kMostNarrowParts * narrow_rows) {
      return rows_call.count<NarrowWord>(host_starts, narrow_rows);
    }
    return rows_call.count<WideWord>(host_starts, rows);
  }

  Rows merge(const Checks& check, const std::vector<Rows>& parts, int64_t vocab_size,
             int64_t /*threads*/) const {
    const Tensor faults = new_zeros(std::get<0>(parts[0]), {1});
    for (const auto& [row_size, cols, counts] : parts) {
      launch_cooccurrence_check(data<const int32_t>(cols), cols.size(0), 0, vocab_size,
                                data<WideWord>(faults), stream());
    }
    check.that(to_host(data<const WideWord>(faults), 1, stream())[0] == 0, "cols must be in [0, ",
               vocab_size, ")");
    return merge_rows(check, parts, vocab_size, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  using namespace lexforge;
  m.impl("cooccurrence_index", TORCH_BOX(&cooccurrence_index<Cuda>));
  m.impl("cooccurrence_rows", TORCH_BOX(&cooccurrence_rows<Cuda>));
  m.impl("cooccurrence_merge", TORCH_BOX(&cooccurrence_merge<Cuda>));
}
