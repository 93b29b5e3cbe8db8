// CPU binding of cooccurrence.h.
#include <array>
#include <vector>

#include "cooccurrence/cooccurrence_rows_cpu.h"

namespace lexforge {
namespace {

constexpr int64_t kTokensPerThread = 1 << 16;  // a histogram is not worth less

// Whether all of x[0 .. size) lie in [low, low + count).
bool all_within(const int32_t* x, int64_t size, int64_t low, int64_t count) {
  std::atomic<bool> within{true};
  parallel_for(0, size, kGrain, [&](int64_t begin, int64_t end) {
    uint32_t outside = 0;
    for (int64_t i = begin; i < end; ++i) {
      outside |=
          static_cast<uint32_t>(x[i]) - static_cast<uint32_t>(low) >= static_cast<uint32_t>(count);
    }
    if (outside != 0) within = false;
  });
  return within;
}

struct WindowRows {
  CooccurrenceRowsParams params;
  std::vector<int64_t> units;  // by distance
  int64_t most_unsaturated;    // centres whose sums stay below 2^63

  int64_t centers(int64_t row) const {
    return params.starts[params.first_row + row + 1] - params.starts[params.first_row + row];
  }
  int64_t additions(int64_t row) const {
    return centers(row) * params.window * (params.symmetric ? 2 : 1);
  }
  int64_t add(int64_t row, int64_t part, int64_t parts, bool sparse,
              const CooccurrenceScratch& scratch) const {
    const int64_t start = params.starts[params.first_row + row], count = centers(row);
    return add_windows(params, units.data(), start + count * part / parts,
                       start + count * (part + 1) / parts, sparse, count > most_unsaturated,
                       scratch);
  }
};

struct PartRows {
  struct Part {
    std::vector<int64_t> begin;  // [R + 1]
    const int32_t* cols;
    const int64_t* counts;
  };
  std::vector<Part> parts;

  int64_t additions(int64_t row) const {
    int64_t entries = 0;
    for (const Part& part : parts) entries += part.begin[row + 1] - part.begin[row];
    return entries;
  }
  int64_t add(int64_t row, int64_t part, int64_t part_count, bool sparse,
              const CooccurrenceScratch& scratch) const {
    int64_t listed = 0;
    for (const Part& p : parts) {
      const int64_t size = p.begin[row + 1] - p.begin[row];
      const int64_t begin = p.begin[row] + size * part / part_count;
      const int64_t end = p.begin[row] + size * (part + 1) / part_count;
      listed = add_entries(p.cols + begin, p.counts + begin, end - begin, listed, sparse, scratch);
    }
    return listed;
  }
};

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  std::tuple<Tensor, Tensor, Tensor> index(const Checks& check, CooccurrenceIndexParams& params,
                                           const Tensor& tokens, int64_t threads) const {
    const int64_t token_count = params.token_count, vocab_size = params.vocab_size;
    const std::array<int64_t, 2> one_sentence{0, token_count};
    if (params.cross_sentences) {
      params.offsets = one_sentence.data();
      params.sentences = 1;
    }
    CooccurrenceSpan span;
    check.that(cooccurrence_span(params, span), "offsets must rise from 0 to ", token_count);
    check.that(span.size() <= INT32_MAX,
               "a chunk must have fewer than 2^31 tokens and separators, got ", span.size());
    Tensor padded = new_large(tokens, span.size(), ScalarType::Int);
    Tensor starts = new_empty(tokens, {vocab_size + 1}, ScalarType::Long);
    Tensor positions = new_large(tokens, params.last - params.first, ScalarType::Int);
    params.padded = data<int32_t>(padded);
    params.starts = data<int64_t>(starts);
    params.positions = data<int32_t>(positions);

    // Each task counts the words of its tokens, takes its places behind the tasks before, and writes.
    const int64_t length = span.end - span.begin;
    const int64_t tasks =
        std::clamp<int64_t>(length / kTokensPerThread, 1,
                            std::clamp<int64_t>(threads, 1, torch::stable::get_num_threads()));
    const auto cut = [&](int64_t task) { return span.begin + length * task / tasks; };
    std::vector<int32_t> places(static_cast<size_t>(tasks * vocab_size));
    const auto places_of = [&](int64_t task) { return places.data() + task * vocab_size; };
    std::atomic<bool> valid{true};
    parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        if (!copy_tokens(params, span, cut(t), cut(t + 1), places_of(t))) valid = false;
      }
    });
    check.that(valid, "tokens must be in [0, ", vocab_size, ")");
    if (params.first < params.last) {
      const int64_t sentences = span.s_last + 1 - span.s_first;
      parallel_for(0, sentences, kGrain, [&](int64_t begin, int64_t end) {
        write_separators(params, span, span.s_first + begin, span.s_first + end);
      });
      std::fill_n(params.padded + span.size() - params.window, params.window, params.vocab_size);
    }
    int64_t before = 0;
    for (int64_t i = 0; i < vocab_size; ++i) {
      params.starts[i] = before;
      for (int64_t t = 0; t < tasks; ++t) {
        const int32_t count = places_of(t)[i];
        places_of(t)[i] = static_cast<int32_t>(before);
        before += count;
      }
    }
    params.starts[vocab_size] = before;
    parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        write_positions(params, span, cut(t), cut(t + 1), places_of(t));
      }
    });
    return {padded, starts, positions};
  }

  CooccurrenceRows rows(const Checks& check, const CooccurrenceRowsParams& params,
                        const Tensor& padded, int64_t all_centers, int64_t threads) const {
    WindowRows source{params, {}, 0};
    const int64_t vocab_size = params.vocab_size, window = params.window;
    const int32_t first_row = params.first_row, last_row = params.last_row;
    const int64_t* const start = params.starts;
    bool rising = start[first_row] >= 0 && start[last_row] <= all_centers;
    for (int64_t i = first_row; i < last_row; ++i) rising &= start[i] <= start[i + 1];
    check.that(rising, "starts must rise from 0 to ", all_centers);
    const int64_t size = padded.size(0), centers = start[last_row] - start[first_row];
    check.that(all_within(params.padded, size, 0, vocab_size + 1), "padded must be in [0, ",
               vocab_size, "]");
    check.that(
        centers == 0 || (size > 2 * window && all_within(params.positions + start[first_row],
                                                         centers, window, size - 2 * window)),
        "positions must be in [window, size of padded - window)");

    const int64_t unit = cooccurrence_unit(params.window, params.distance_weighting);
    double total = 0;  // of the units of a window
    for (int64_t d = 0; d <= window; ++d) {
      source.units.push_back(d == 0 ? 0 : params.distance_weighting ? unit / d : 1);
      total += static_cast<double>(2 * source.units.back());
    }
    source.most_unsaturated = static_cast<int64_t>(9.2e18 / total);
    return count_rows(source, last_row - first_row, vocab_size, threads, padded);
  }

  CooccurrenceRows merge(const Checks& check, const std::vector<CooccurrenceRows>& parts,
                         int64_t vocab_size, int64_t threads) const {
    PartRows source;
    const Tensor& like = std::get<0>(parts[0]);
    const int64_t rows = like.numel();
    for (const auto& [row_size, cols, counts] : parts) {
      const int64_t entries = cols.size(0);
      PartRows::Part part{{0}, data<const int32_t>(cols), data<const int64_t>(counts)};
      part.begin.reserve(static_cast<size_t>(rows) + 1);
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t size = data<const int64_t>(row_size)[row];
        check.that(size >= 0 && size <= entries - part.begin.back(), "row_size must add up to ",
                   entries);
        part.begin.push_back(part.begin.back() + size);
      }
      check.that(part.begin.back() == entries, "row_size must add up to ", entries);
      check.that(all_within(part.cols, entries, 0, vocab_size), "cols must be in [0, ", vocab_size,
                 ")");
      source.parts.push_back(std::move(part));
    }
    return count_rows(source, rows, vocab_size, threads, like);
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  using namespace lexforge;
  m.impl("cooccurrence_index", TORCH_BOX(&cooccurrence_index<Cpu>));
  m.impl("cooccurrence_rows", TORCH_BOX(&cooccurrence_rows<Cpu>));
  m.impl("cooccurrence_merge", TORCH_BOX(&cooccurrence_merge<Cpu>));
}
