// CPU binding of classify_train_.
#include <array>
#include <vector>

#include "common/cpu_binding.h"
#include "subword/classify_train_binding.h"
#include "subword/classify_train_cpu.h"

namespace lexforge {
namespace {

// Tokens that a thread takes at a time: some lines, so that the next one is known, and few enough
// that the threads of a call finish together.
constexpr int64_t kTokensPerTurn = 4096;

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  void run(const Checks& check, const ClassifyTrainParams<scalar_t>& params,
           const ClassifyTrainBounds& bounds, double* stats, int64_t threads) const {
    if (params.first_line == params.last_line) return;
    const ClassifyTrainSizes sizes = look_at(check, params, bounds);
    ClassifyTrainFunction<scalar_t>* kernel;
    if constexpr (std::is_same_v<scalar_t, float>) {
      kernel = LEXFORGE_CHOOSE(classify_train);
    } else {
      kernel = baseline::classify_train_double;
    }
    const int64_t lines = params.last_line - params.first_line;
    const int64_t range = params.offsets[params.last_line] - params.offsets[params.first_line];
    const int64_t turn =
        threads <= 1 ? lines
                     : std::max<int64_t>(1, lines * kTokensPerTurn / std::max<int64_t>(1, range));
    threads = std::min({threads, (lines + turn - 1) / turn,
                        static_cast<int64_t>(torch::stable::get_num_threads())});
    Carver measured(nullptr);
    ClassifyTrainWork<scalar_t>(sizes, params.stride, measured);
    std::atomic<int64_t> next{params.first_line};
    std::vector<std::array<double, 2>> sums(static_cast<size_t>(threads));
    parallel_with_scratch(check.op, threads, 1, measured.used(),
                          [&](int64_t begin, int64_t end, void* memory) {
                            Carver carve(memory);
                            const ClassifyTrainWork<scalar_t> work(sizes, params.stride, carve);
                            for (int64_t thread = begin; thread < end; ++thread) {
                              std::array<double, 2> local{};
                              ClassifyTrainParams<scalar_t> part = params;
                              while (true) {
                                part.first_line = next.fetch_add(turn);
                                part.last_line = std::min(part.first_line + turn, params.last_line);
                                if (part.first_line >= params.last_line) break;
                                kernel(part, work, local.data());
                              }
                              sums[static_cast<size_t>(thread)] = local;
                            }
                          });
    for (const auto& sum : sums) {
      for (int64_t i = 0; i < 2; ++i) stats[i] += sum[i];
    }
  }

 private:
  // Fails for what a kernel would read or write out of bounds.
  template <typename scalar_t>
  static ClassifyTrainSizes look_at(const Checks& check,
                                    const ClassifyTrainParams<scalar_t>& params,
                                    const ClassifyTrainBounds& bounds) {
    check_ids(check, "bag_rows", bounds.bag_rows, bounds.rows);
    const auto rising = [&](const char* name, const int64_t* offsets, int64_t first, int64_t last,
                            int64_t size) {
      bool good = offsets[first] >= 0 && offsets[last] <= size;
      for (int64_t i = first; i < last; ++i) good &= offsets[i] <= offsets[i + 1];
      check.that(good, name, " must rise from 0 to at most ", size);
    };
    rising("bag_offsets", params.bag_offsets, 0, bounds.types, bounds.bag_rows.size(0));
    rising("offsets", params.offsets, params.first_line, params.last_line, bounds.tokens);
    rising("label_offsets", params.label_offsets, params.first_line, params.last_line,
           bounds.label_ids);
    if (params.bucket_rows != nullptr && params.word_ngrams > 1) {
      int32_t largest = -1;
      for (int64_t b = 0; b < params.buckets; ++b) {
        largest = std::max(largest, params.bucket_rows[b]);
      }
      check.that(params.words + largest < bounds.rows, "bucket_rows must be below ",
                 bounds.rows - params.words, ", got ", largest);
    }
    const auto ids = [&](const char* name, const int32_t* id, int64_t first, int64_t last,
                         int64_t size) {
      uint32_t largest = 0;
      for (int64_t i = first; i < last; ++i) {
        largest = std::max(largest, static_cast<uint32_t>(id[i]));
      }
      check.that(first == last || largest < size, name, " must be in [0, ", size, "), got ",
                 static_cast<int32_t>(largest));
    };
    const int64_t first = params.first_line, last = params.last_line;
    ids("tokens", params.tokens, params.offsets[first], params.offsets[last], bounds.types);
    ids("label_ids", params.label_ids, params.label_offsets[first], params.label_offsets[last],
        params.labels);
    ClassifyTrainSizes sizes{.features = 0, .targets = params.labels};
    for (int64_t line = first; line < last; ++line) {
      const int64_t begin = params.offsets[line], end = params.offsets[line + 1];
      int64_t features = (end - begin) * (params.word_ngrams - 1);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t* bag = params.bag_offsets + params.tokens[i];
        features += bag[1] - bag[0];
      }
      sizes.features = std::max(sizes.features, features);
    }
    if (params.loss == ClassifyLoss::kNegative) sizes.targets = 1 + params.negatives;
    if (params.loss == ClassifyLoss::kTree) {
      rising("path_offsets", params.path_offsets, 0, params.labels, bounds.paths);
      ids("paths", params.paths, 0, params.path_offsets[params.labels], 2 * (params.labels - 1));
      sizes.targets = 0;
      for (int64_t label = 0; label < params.labels; ++label) {
        sizes.targets =
            std::max(sizes.targets, params.path_offsets[label + 1] - params.path_offsets[label]);
      }
    }
    return sizes;
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("classify_train_", TORCH_BOX(&lexforge::classify_train<lexforge::Cpu>));
}
