// The CPU builds of the word2vec kernel (contract: word2vec_train.h).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "common/scratch.h"
#include "common/team.h"
#include "word2vec/word2vec_train.h"

namespace lexforge {

// Copies of the rows that a shard trains, each at its row's place: made when a call first meets it,
// and equal to the table's row before and after a round.
template <typename row_t>
struct ShardRows {
  static constexpr uint32_t kCopied = uint32_t{1} << 31;
  struct Table {
    row_t* start;  // of the table itself, which stays as it is during a round
    int64_t rows;
    row_t* copy;        // [rows, stride]
    uint32_t* times;    // [rows]: kCopied once there is a copy, and how often a round trained it
    uint64_t* trained;  // a bit for each row that a round trains; zeros before and after it
    int32_t* fresh;     // rows whose copies are yet to be made
    int64_t lacking;    // so many
  };
  static constexpr int64_t kTables = 3;  // in, out, tree
  Table table[kTables];

  // In memory that is all zeros at first, and keeps what a call left there as long as only such
  // calls change the tables; they have so many rows, or none.
  ShardRows(row_t* const (&starts)[kTables], const int64_t (&rows_of)[kTables], int64_t stride,
            Carver& carve) {
    for (int64_t name = 0; name < kTables; ++name) {
      const int64_t rows = rows_of[name];
      auto* const copy = carve.take<row_t>(rows * stride);
      auto* const times = carve.take<uint32_t>(rows);
      auto* const trained = carve.take<uint64_t>((rows + 63) / 64);
      table[name] = {starts[name], rows, copy, times, trained, carve.take<int32_t>(rows), 0};
    }
  }

  ShardRows(const Word2vecTrainParams<row_t>& params, Carver& carve)
      : ShardRows({params.in_table, params.out_table, params.tree_table},
                  {params.in_rows, params.out_table == nullptr ? 0 : params.vocab_size,
                   params.tree_table == nullptr ? 0 : params.vocab_size - 1},
                  params.stride, carve) {}

  // Before a call.
  void begin() {
    for (Table& each : table) std::fill_n(each.trained, (each.rows + 63) / 64, 0);
  }
  // After a round that failed, which leaves the tables as they were.
  void forget() {
    begin();
    for (Table& each : table) {
      std::fill_n(each.times, each.rows, 0);
      each.lacking = 0;
    }
  }
};

// Bytes of a shard's copies in float32, or in bfloat16.
inline int64_t word2vec_shard_bytes(int64_t in_rows, int64_t out_rows, int64_t tree_rows,
                                    int64_t stride, bool bfloat16) {
  Carver sizes(nullptr);
  const int64_t rows[] = {in_rows, out_rows, tree_rows};
  bfloat16 ? void(ShardRows<Bfloat16>({}, rows, stride, sizes))
           : void(ShardRows<float>({}, rows, stride, sizes));
  return sizes.used();
}

// Trains on the sentences of params.first_sentence .. last_sentence in order, on the calling
// thread, one of `threads` that train the same tables, and adds to stats[0..2]; or, with a shard,
// changes its copies and not the tables. `workspace` is 64-byte aligned scratch memory. Returns
// false, having stopped, when a token is not in [0, V), the offsets do not rise within
// [0, token_count], or a path or a bag is none.
template <typename row_t>
using Word2vecTrainFunction = bool(const Word2vecTrainParams<row_t>& params, int64_t token_count,
                                   int64_t threads, ShardRows<row_t>* shard, void* workspace,
                                   double* stats);

// A member's part of adding what `count` shards, at most kMostShards, have changed to the tables,
// and of making all copies equal to them.
template <typename row_t>
using Word2vecMergeFunction = void(ShardRows<row_t>* shards, int64_t count, int64_t stride,
                                   const TeamMember& member);

namespace baseline {
Word2vecTrainFunction<float> word2vec_train;
Word2vecTrainFunction<Bfloat16> word2vec_train_bfloat16;
Word2vecTrainFunction<double> word2vec_train_double;  // for tests
Word2vecMergeFunction<float> word2vec_merge;
Word2vecMergeFunction<Bfloat16> word2vec_merge_bfloat16;
Word2vecMergeFunction<double> word2vec_merge_double;
}  // namespace baseline
namespace avx2 {
Word2vecTrainFunction<float> word2vec_train;
Word2vecTrainFunction<Bfloat16> word2vec_train_bfloat16;
Word2vecMergeFunction<float> word2vec_merge;
Word2vecMergeFunction<Bfloat16> word2vec_merge_bfloat16;
}  // namespace avx2
namespace avx512 {
Word2vecTrainFunction<float> word2vec_train;
Word2vecTrainFunction<Bfloat16> word2vec_train_bfloat16;
Word2vecMergeFunction<float> word2vec_merge;
Word2vecMergeFunction<Bfloat16> word2vec_merge_bfloat16;
}  // namespace avx512

// Sizes of a thread's workspace.
struct Word2vecTrainPlan {
  static constexpr int64_t kTile = 6;     // targets handled together: a positive, five noise words
  static constexpr int64_t kErrors = 8;   // their weights and errors lie this far apart
  static constexpr int64_t kKept = 2048;  // kept tokens read at a time, besides the windows
  static constexpr int64_t kOwnWords = 128, kOwnNodes = 256;  // own_rows_impl.h
  static constexpr int64_t kMostSums = 192;  // tokens: all pairs of them are looked at

  int64_t most_contexts;  // of the widest window
  int64_t most_inputs;    // as many, or one made of several rows
  int64_t shared_tiles;   // of targets: most that all inputs of a window have in common,
  int64_t own_tiles;      // and most of each input
  int64_t most_tiles;     // of the widest window
  int64_t most_errors;    // tiles of errors: of each input with each of its targets
  int64_t most_draws;     // noise draws of the widest window
  int64_t most_rows;      // targets and, without bags, contexts
  int64_t planned;        // centres planned at a time
  int64_t list_ahead;     // of a centre, whose path or bag is fetched,
  int64_t begin_ahead;    // and of one, for where that begins
  int64_t most_tokens;    // that their windows reach
  int64_t most_bag_rows;  // of the bags that their windows meet
  bool sums;              // whether bags are added up for all of them (cpu/sums_impl.h),
  int64_t bag_places;     // and the size of a table of their rows
  int64_t kept;           // capacity of the buffer of kept tokens
  int64_t own_words;      // rows of words, and of the tree, of which a thread has copies
  int64_t own_nodes;

  template <typename row_t>
  explicit Word2vecTrainPlan(const Word2vecTrainParams<row_t>& params, int64_t threads = 1) {
    const bool own = threads > 1;
    own_words = own ? least(kOwnWords, params.vocab_size) : 0;
    own_nodes = own ? least(kOwnNodes, params.vocab_size - 1) : 0;
    const int64_t window = params.window, negatives = params.negatives;
    const bool in_common = params.share_negatives || params.cbow;
    const bool bags = params.bag_offsets != nullptr;
    const int64_t noise = params.out_table == nullptr ? 0 : tiles(1 + negatives);
    const int64_t tree = params.tree_table == nullptr ? 0 : tiles(params.longest_path);
    most_contexts = 2 * window;
    if (params.cbow) {
      most_inputs = 1;
      shared_tiles = 0;
      own_tiles = tree + noise;
    } else if (bags) {
      most_inputs = 1;
      shared_tiles = 0;
      own_tiles = most_contexts * (tree + (in_common ? 0 : noise));
      if (in_common && noise > 0) own_tiles += tiles(most_contexts + negatives);
    } else {
      most_inputs = most_contexts;
      shared_tiles = tree + (in_common ? noise : 0);
      own_tiles = in_common ? 0 : noise;
    }
    most_tiles = shared_tiles + own_tiles * most_inputs;
    most_errors = (shared_tiles + own_tiles) * most_inputs;
    most_draws = in_common ? negatives : most_contexts * negatives;
    most_rows = most_tiles * kTile + (bags ? 0 : most_contexts);
    planned = most_rows >= 2048 ? 1 : least(2048 / most_rows, 32);
    // Beyond those planned at the same time, whose lists are read at once.
    list_ahead = 12 + planned;
    begin_ahead = 32 + 2 * planned;
    most_tokens = planned + 2 * window;
    most_bag_rows = (params.cbow ? most_tokens : planned) * params.longest_bag;
    sums = bags && params.cbow && params.in_scale == nullptr && most_tokens <= kMostSums;
    bag_places = 64;
    while (bag_places < 2 * most_bag_rows) bag_places *= 2;
    kept = kKept + 2 * window;
  }

 private:
  static int64_t tiles(int64_t targets) { return (targets + kTile - 1) / kTile; }
  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
};

// Bytes of workspace for one of so many threads.
template <typename row_t>
size_t word2vec_train_workspace(const Word2vecTrainParams<row_t>& params, int64_t threads = 1) {
  using scalar_t = ComputedType<row_t>;
  const Word2vecTrainPlan sizes(params, threads);
  const size_t widest = 64;  // elements that a register or a span may run over an array's end
  const size_t planned = static_cast<size_t>(sizes.planned);
  const size_t kept = static_cast<size_t>(sizes.kept) + 2 * widest;
  const size_t rows = planned * static_cast<size_t>(sizes.most_rows + 1) + widest;
  const size_t tiles = static_cast<size_t>(sizes.most_tiles);
  const size_t quads = planned * static_cast<size_t>(sizes.most_draws + 1) + 2 * widest;
  const size_t stride = static_cast<size_t>(params.stride);
  const size_t plan =
      2 * rows * sizeof(void*) + planned * tiles * sizes.kErrors * sizeof(scalar_t) +
      planned * (192 + 2 * sizeof(int32_t)) + quads * 5 * sizeof(uint32_t) +
      stride * sizeof(scalar_t) + static_cast<size_t>(sizes.most_bag_rows) * sizeof(void*) +
      static_cast<size_t>(sizes.most_tokens + 1) * (2 * sizeof(int64_t) + 4 * sizeof(int32_t));
  const size_t errors = static_cast<size_t>(sizes.most_errors) * sizes.kErrors;
  const size_t changes = static_cast<size_t>(sizes.shared_tiles * sizes.kTile) * 16;
  // Twice each row, and how often it was trained.
  const size_t own = static_cast<size_t>(2 * sizes.own_words + sizes.own_nodes) *
                         (2 * stride * sizeof(scalar_t) + sizeof(int64_t)) +
                     3 * sizeof(int64_t);
  const size_t tokens = static_cast<size_t>(sizes.most_tokens);
  const size_t sums =
      !sizes.sums ? 0
                  : tokens * 2 * stride * sizeof(scalar_t) +
                        (tokens + 1) * (tokens + 16) * sizeof(scalar_t) +
                        static_cast<size_t>(sizes.bag_places) * (sizeof(void*) + sizeof(int32_t)) +
                        static_cast<size_t>(sizes.most_bag_rows) * 3 * sizeof(int32_t);
  const size_t bytes =
      own + sums + kept * (3 * sizeof(int32_t) + sizeof(int64_t) + sizeof(scalar_t)) + 2 * plan +
      (errors + changes + 2 * stride + static_cast<size_t>(sizes.most_contexts)) * sizeof(scalar_t);
  return (bytes + 64 * 100) / 64 * 64;  // each of some 90 arrays starts at a cache line
}

}  // namespace lexforge
