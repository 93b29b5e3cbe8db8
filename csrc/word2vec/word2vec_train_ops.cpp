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

  static constexpr bool kParts = true;  // of tables, with `together`

  template <typename scalar_t>
  void run(const Checks& check, const Word2vecTrainParams<scalar_t>& params, int64_t token_count,
           Tensor& stats, int64_t threads) const {
    if (params.first_sentence == params.last_sentence) return;
    const bool valid =
        params.together > 0
            ? train_together(check, params, token_count, data<double>(stats), threads)
            : train_in_turns(check, params, token_count, data<double>(stats), threads);
    check.that(valid, "tokens must be in [0, ", params.vocab_size,
               "), offsets must rise from 0 to at most ", token_count, ", paths have at most ",
               params.longest_path, " nodes in [0, ", params.vocab_size - 1, "), and bags 1 to ",
               params.longest_bag, " rows in [0, ", params.in_rows, ")");
  }

 private:
  // Threads take blocks of sentences in turn and update rows without locks.
  template <typename scalar_t>
  static bool train_in_turns(const Checks& check, const Word2vecTrainParams<scalar_t>& params,
                             int64_t token_count, double* stats, int64_t threads) {
    Word2vecTrainFunction<scalar_t>* kernel;
    if constexpr (std::is_same_v<scalar_t, float>) {
      kernel = LEXFORGE_CHOOSE(word2vec_train);
    } else {
      kernel = baseline::word2vec_train_double;
    }
    const int64_t sentences = params.last_sentence - params.first_sentence;
    const int64_t range =
        params.offsets[params.last_sentence] - params.offsets[params.first_sentence];
    const int64_t turn =
        threads <= 1
            ? sentences
            : std::max<int64_t>(1, sentences * kTokensPerTurn / std::max<int64_t>(1, range));
    // No more have work, or run.
    threads = std::min({threads, (sentences + turn - 1) / turn,
                        static_cast<int64_t>(torch::stable::get_num_threads())});
    const int64_t bytes = static_cast<int64_t>(word2vec_train_workspace(params, threads));
    std::atomic<int64_t> next{params.first_sentence};
    std::atomic<bool> valid{true}, memory{true};
    std::vector<std::array<double, 3>> sums(static_cast<size_t>(threads));
    parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
      const Scratch workspace = new_scratch(bytes);
      if (!workspace) memory = false;
      for (int64_t thread = begin; thread < end; ++thread) {
        std::array<double, 3> local{};
        Word2vecTrainParams<scalar_t> part = params;
        while (valid && workspace) {
          part.first_sentence = next.fetch_add(turn);
          part.last_sentence = std::min(part.first_sentence + turn, params.last_sentence);
          if (part.first_sentence >= params.last_sentence) break;
          if (!kernel(part, token_count, threads, workspace.get(), local.data())) valid = false;
        }
        sums[thread] = local;
      }
    });
    check.that(memory, "no memory for ", threads, " threads of ", bytes, " bytes");
    for (const auto& sum : sums) {
      for (int64_t i = 0; i < 3; ++i) stats[i] += sum[i];
    }
    return valid;
  }

  // Threads work on columns of their own.
  template <typename scalar_t>
  static bool train_together(const Checks& check, const Word2vecTrainParams<scalar_t>& params,
                             int64_t token_count, double* stats, int64_t threads) {
    Word2vecTogetherFunction<scalar_t>* kernel;
    if constexpr (std::is_same_v<scalar_t, float>) {
      kernel = LEXFORGE_CHOOSE(word2vec_together);
    } else {
      kernel = baseline::word2vec_together_double;
    }
    const int64_t members = std::min(threads, params.parts);
    const int64_t bytes = static_cast<int64_t>(word2vec_together_memory(params, members));
    const Scratch shared = new_scratch(bytes);
    check.that(shared != nullptr, "no memory for ", bytes, " bytes");
    bool memory = true, valid = true;  // written by the first member
    run_team(members, [&](const TeamMember& member) {
      const size_t own = word2vec_train_workspace(params, member.members);
      const Scratch workspace = new_scratch(static_cast<int64_t>(own));
      const bool all = member.meeting.wait(workspace != nullptr);
      const bool good =
          all && kernel(params, token_count, member, shared.get(), workspace.get(), stats);
      if (member.index == 0) memory = all, valid = good;
    });
    check.that(memory, "no memory for ", params.together, " windows of ", threads, " threads");
    return valid;
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("word2vec_train_", TORCH_BOX(&lexforge::word2vec_train<lexforge::Cpu>));
}
