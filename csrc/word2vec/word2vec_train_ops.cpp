// CPU binding of word2vec_train_.
#include <algorithm>
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

template <typename row_t>
Word2vecTrainFunction<row_t>* chosen_kernel() {
  if constexpr (std::is_same_v<row_t, float>) {
    return LEXFORGE_CHOOSE(word2vec_train);
  } else if constexpr (std::is_same_v<row_t, Bfloat16>) {
    return LEXFORGE_CHOOSE(word2vec_train_bfloat16);
  } else {
    return baseline::word2vec_train_double;
  }
}

template <typename row_t>
Word2vecMergeFunction<row_t>* chosen_merge() {
  if constexpr (std::is_same_v<row_t, float>) {
    return LEXFORGE_CHOOSE(word2vec_merge);
  } else if constexpr (std::is_same_v<row_t, Bfloat16>) {
    return LEXFORGE_CHOOSE(word2vec_merge_bfloat16);
  } else {
    return baseline::word2vec_merge_double;
  }
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  static constexpr bool kShards = true;

  template <typename row_t>
  void run(const Checks& check, const Word2vecTrainParams<row_t>& params, int64_t token_count,
           Tensor& stats, Tensor& shard_rows, int64_t threads) const {
    if (params.first_sentence == params.last_sentence) return;
    const bool valid =
        params.shards > 0
            ? train_in_shards(check, params, token_count, stats, shard_rows, threads)
            : train_in_turns(check, params, token_count, data<double>(stats), threads);
    check.that(valid, "tokens must be in [0, ", params.vocab_size,
               "), offsets must rise from 0 to at most ", token_count, ", paths have at most ",
               params.longest_path, " nodes in [0, ", params.vocab_size - 1, "), and bags 1 to ",
               params.longest_bag, " rows in [0, ", params.in_rows, ")");
  }

 private:
  // Threads take blocks of sentences in turn and update rows without locks.
  template <typename row_t>
  static bool train_in_turns(const Checks& check, const Word2vecTrainParams<row_t>& params,
                             int64_t token_count, double* stats, int64_t threads) {
    const auto kernel = chosen_kernel<row_t>();
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
        Word2vecTrainParams<row_t> part = params;
        while (valid && workspace) {
          part.first_sentence = next.fetch_add(turn);
          part.last_sentence = std::min(part.first_sentence + turn, params.last_sentence);
          if (part.first_sentence >= params.last_sentence) break;
          if (!kernel(part, token_count, threads, nullptr, workspace.get(), local.data())) {
            valid = false;
          }
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

  // Threads take the shards of a round in turn, and add what they changed to the tables together.
  template <typename row_t>
  static bool train_in_shards(const Checks& check, const Word2vecTrainParams<row_t>& params,
                              int64_t token_count, Tensor& stats, Tensor& shard_rows,
                              int64_t threads) {
    const auto kernel = chosen_kernel<row_t>();
    const auto merge = chosen_merge<row_t>();
    const int64_t* const first = params.offsets + params.first_sentence;
    const int64_t* const last = params.offsets + params.last_sentence;
    if (*first < 0 || *last > token_count || !std::is_sorted(first, last + 1)) return false;
    const auto shard_of = [&](const int64_t* sentence) { return *sentence / params.shard_tokens; };
    const int64_t shards = params.shards;
    const int64_t first_round = shard_of(first) / shards,
                  end_round = shard_of(last - 1) / shards + 1;
    // The sentences of a shard of the corpus.
    const auto begin_of = [&](int64_t shard) {
      return std::lower_bound(first, last, shard * params.shard_tokens) - params.offsets;
    };
    Carver sizes(nullptr);
    ShardRows<row_t>(params, sizes);
    const int64_t bytes = shards * sizes.used();
    const bool kept = shard_rows.numel() > 0;
    check.that(!kept || shard_rows.numel() == bytes, "shard_rows must have ", bytes,
               " bytes or none, got ", shard_rows.numel());
    check.aligned("shard_rows", shard_rows, 64);
    const Tensor memory =
        kept ? shard_rows : zeroed(large(new_empty(stats, {bytes}, ScalarType::Byte)));
    Carver carve(memory.data_ptr());
    std::vector<ShardRows<row_t>> rows;
    for (int64_t s = 0; s < shards; ++s) rows.emplace_back(params, carve).begin();
    std::vector<std::array<double, 3>> sums(static_cast<size_t>(shards));
    std::atomic<int64_t> taken[2] = {0, 0};  // of this round and of the next
    bool enough = true, valid = true;        // written by the first member
    run_team(std::min(threads, shards), [&](const TeamMember& member) {
      const Scratch workspace = new_scratch(static_cast<int64_t>(word2vec_train_workspace(params)));
      bool well = member.meeting.wait(workspace != nullptr);
      if (member.index == 0) enough = well;
      for (int64_t round = first_round; well && round < end_round; ++round) {
        for (int64_t s; well && (s = taken[round % 2]++) < shards;) {
          Word2vecTrainParams<row_t> part = params;
          part.first_sentence = begin_of(round * shards + s);
          part.last_sentence = begin_of(round * shards + s + 1);
          well = kernel(part, token_count, 1, &rows[s], workspace.get(), sums[s].data());
        }
        well = member.meeting.wait(well);
        if (member.index == 0) taken[round % 2 == 0] = 0, valid = well;
        if (!well) break;
        merge(rows.data(), shards, params.stride, member);
        member.meeting.wait(true);
      }
    });
    if (!valid) {
      for (auto& each : rows) each.forget();
    }
    check.that(enough, "no memory for ", threads, " threads");
    for (const auto& sum : sums) {
      for (int64_t i = 0; i < 3; ++i) data<double>(stats)[i] += sum[i];
    }
    return valid;
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("word2vec_train_", TORCH_BOX(&lexforge::word2vec_train<lexforge::Cpu>));
}
