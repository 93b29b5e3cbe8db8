// CPU binding of word2vec_train_.
#include <array>
#include <vector>

#include "common/cpu_binding.h"
#include "word2vec/word2vec_train_binding.h"
#include "word2vec/word2vec_train_cpu.h"

namespace lexforge {
namespace {

// Tokens that a thread takes at a time: long enough to amortise the start of the kernel's pipeline,
// short enough that the threads of one call finish together.
constexpr int64_t kTokensPerTurn = 4096;

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  void run(const Checks& check, const Word2vecTrainParams<scalar_t>& params, int64_t token_count,
           Tensor& stats, int64_t threads) const {
    Word2vecTrainFunction<scalar_t>* kernel;
    if constexpr (std::is_same_v<scalar_t, float>) {
      kernel = LEXFORGE_CHOOSE(word2vec_train);
    } else {
      kernel = baseline::word2vec_train_double;
    }
    const int64_t sentences = params.last_sentence - params.first_sentence;
    if (sentences == 0) return;
    const int64_t range =
        params.offsets[params.last_sentence] - params.offsets[params.first_sentence];
    const int64_t turn =
        threads <= 1
            ? sentences
            : std::max<int64_t>(1, sentences * kTokensPerTurn / std::max<int64_t>(1, range));
    const size_t bytes = word2vec_train_workspace(
        params.window, params.negatives, params.share_negatives, params.stride, sizeof(scalar_t));
    std::atomic<int64_t> next{params.first_sentence};
    std::atomic<bool> valid{true};
    std::vector<std::array<double, 3>> sums(static_cast<size_t>(threads));
    parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
      const Scratch workspace = new_scratch(static_cast<int64_t>(bytes));
      for (int64_t thread = begin; thread < end; ++thread) {
        std::array<double, 3> local{};
        Word2vecTrainParams<scalar_t> part = params;
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
    check.that(valid, "tokens must be in [0, ", params.vocab_size,
               ") and offsets must rise from 0 to at most ", token_count);
    for (const auto& sum : sums) {
      for (int64_t i = 0; i < 3; ++i) data<double>(stats)[i] += sum[i];
    }
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("word2vec_train_", TORCH_BOX(&lexforge::word2vec_train<lexforge::Cpu>));
}
