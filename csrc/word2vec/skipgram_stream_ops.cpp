// CPU binding of skipgram_train_.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <vector>

#include "common/cpu_capability.h"
#include "word2vec/skipgram_stream_binding.h"
#include "word2vec/skipgram_stream_cpu.h"

namespace lexforge {
namespace {

// Tokens that a thread takes at a time: long enough to amortise the start of the kernel's pipeline,
// short enough that the threads of one call finish together.
constexpr int64_t kTokensPerTurn = 4096;

// A draw from the table is a row that the kernels write to.
void check_aliases(const AliasEntry* noise, int64_t vocab_size) {
  for (int64_t i = 0; i < vocab_size; ++i) {
    STD_TORCH_CHECK(noise[i].alias < vocab_size, "skipgram_train_: noise[", i,
                    "] must have an alias in [0, ", vocab_size, "), got ", noise[i].alias);
  }
}

template <typename scalar_t>
void run(const SkipgramStreamParams<scalar_t>& params, const Tensor& tokens, Tensor& stats,
         int64_t threads, SkipgramStreamFunction<scalar_t>* kernel) {
  const int64_t sentences = params.last_sentence - params.first_sentence;
  if (sentences == 0) return;
  check_aliases(params.noise, params.vocab_size);
  const int64_t token_count = tokens.size(0);
  const int64_t range =
      params.offsets[params.last_sentence] - params.offsets[params.first_sentence];
  const int64_t turn =
      threads <= 1 ? sentences
                   : std::max<int64_t>(1, sentences * kTokensPerTurn / std::max<int64_t>(1, range));
  const size_t bytes = skipgram_stream_workspace(
      params.window, params.negatives, params.share_negatives, params.stride, sizeof(scalar_t));
  std::atomic<int64_t> next{params.first_sentence};
  std::atomic<bool> valid{true};
  std::vector<std::array<double, 3>> sums(static_cast<size_t>(std::max<int64_t>(1, threads)));
  torch::stable::parallel_for(
      0, static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
        const std::unique_ptr<void, decltype(&std::free)> workspace(std::aligned_alloc(64, bytes),
                                                                    std::free);
        for (int64_t thread = begin; thread < end; ++thread) {
          std::array<double, 3> local{};
          SkipgramStreamParams<scalar_t> part = params;
          while (valid && workspace) {
            part.first_sentence = next.fetch_add(turn);
            part.last_sentence = std::min(part.first_sentence + turn, params.last_sentence);
            if (part.first_sentence >= params.last_sentence) break;
            if (!kernel(part, token_count, workspace.get(), local.data())) valid = false;
          }
          if (!workspace) valid = false;
          sums[thread] = local;
        }
      });
  STD_TORCH_CHECK(valid.load(), "skipgram_train_: tokens must be in [0, ", params.vocab_size,
                  ") and offsets must rise from 0 to at most ", token_count);
  for (const auto& sum : sums) {
    for (int64_t i = 0; i < 3; ++i) data<double>(stats)[i] += sum[i];
  }
}

void skipgram_train(Tensor& in_table, Tensor& out_table, Tensor& stats, const Tensor& tokens,
                    const Tensor& offsets, const Tensor& keep, const Tensor& noise,
                    int64_t first_sentence, int64_t last_sentence, int64_t window,
                    int64_t negatives, bool dynamic_window, bool share_negatives, double alpha,
                    double min_alpha, int64_t tokens_before, int64_t total_tokens, int64_t seed,
                    int64_t epoch, int64_t threads) {
  const auto with = [&]<typename scalar_t>(SkipgramStreamFunction<scalar_t>* kernel) {
    run<scalar_t>(skipgram_stream_params<scalar_t>(
                      in_table, out_table, stats, tokens, offsets, keep, noise, first_sentence,
                      last_sentence, window, negatives, dynamic_window, share_negatives, alpha,
                      min_alpha, tokens_before, total_tokens, seed, epoch),
                  tokens, stats, threads, kernel);
  };
  if (in_table.scalar_type() == ScalarType::Float) {
    with.operator()<float>(
        choose(baseline::skipgram_stream, avx2::skipgram_stream, avx512::skipgram_stream));
  } else {
    STD_TORCH_CHECK(in_table.scalar_type() == ScalarType::Double,
                    "skipgram_train_: in_table must be float32 or float64");
    with.operator()<double>(baseline::skipgram_stream_double);
  }
}

}  // namespace

}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("skipgram_train_", TORCH_BOX(&lexforge::skipgram_train));
}
