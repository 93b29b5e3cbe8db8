// word2vec_train_ on CUDA (contract: word2vec_train.h and word2vec_train_cuda.h): which kernel is
// started, and the rounds of a deterministic call.
//
// Rows are read through the second-level cache and changed there by 16-byte atomic additions. At
// 100 dimensions (28 lanes work) a window of 6 contexts and K = 5 reads and adds to 37 rows with
// noise per pair and 12 with shared noise or CBOW: 17 and 5 KB each way between a multiprocessor
// and the cache (computed). That is expected to be the limit with noise per pair, and the number of
// instructions otherwise (benchmarks/NOTES.md).
#include <algorithm>
#include <vector>

#include "word2vec/cuda/start.cuh"

namespace lexforge {
namespace word2vec {
namespace {

// How many sentences are trained at the same time. Each sees the rows as they were some
// microseconds ago, and where many concurrent windows push one row by the same stale error the sum
// overshoots: what fills an H200 suits a vocabulary of 70,000 words and would ruin one of 100.
// Hence at most one warp for every 32 words (about as many rows in flight as there are words), and
// one for every 1024 tokens of the corpus, so that what is in flight stays a small part of an
// epoch. 2112 warps, all of an H200's, run from 67,584 words and 2.2 million tokens on.
//
// The windows of a round are in flight together in the same sense, but how many there are may not
// depend on the device.
constexpr int64_t kWordsPerWarp = 32;
constexpr int64_t kTokensPerWarp = 1024;
constexpr int64_t kMostOfRound = 2048;

bool has_bags(const Word2vecTrainParams<float>& params) { return params.bag_offsets != nullptr; }

bool noise_per_pair(const Word2vecTrainParams<float>& params) {
  return !params.cbow && params.out_table != nullptr && !params.share_negatives;
}

// ---- rounds -------------------------------------------------------------------------------------

// Which tokens at positions [first, last) survive sub-sampling; those outside [0, V) do not.
constexpr int kKeepThreads = 256;

__global__ void __launch_bounds__(kKeepThreads)
    keep_tokens_kernel(const __grid_constant__ Word2vecTrainParams<float> params, int64_t first,
                       int64_t last, uint32_t* kept, unsigned long long* diverged) {
  const int64_t begin = first / kWarp * kWarp;
  const int64_t position = begin + static_cast<int64_t>(blockIdx.x) * kKeepThreads + threadIdx.x;
  bool keep = false;
  if (position >= first && position < last) {
    const int32_t token = params.tokens[position];
    if (token < 0 || token >= params.vocab_size) {
      *diverged = 1;
    } else {
      keep = word2vec_keep(params.seed, params.epoch, position, params.keep[token]);
    }
  }
  const unsigned word = __ballot_sync(kAllLanes, keep);
  if (position % kWarp == 0 && position < last) kept[position / kWarp] = word;
}

struct MergedTable {
  float4* start;
  RoundSums sums;
  int64_t rows;
};

// Adds a round's sums to the rows that it drew, and makes them zeros again. A block looks at
// kRowsPerBlock rows of the table of its blockIdx.y, far from each other: those of frequent words
// lie side by side and are drawn in every round.
constexpr int kRowsPerBlock = 64;
constexpr int kMergeThreads = 256;

__global__ void __launch_bounds__(kMergeThreads)
    merge_round_kernel(const MergedTable in, const MergedTable out, const MergedTable tree,
                       uint32_t row_packs) {
  __shared__ int32_t drawn[kRowsPerBlock];
  __shared__ float part[kRowsPerBlock];
  __shared__ uint32_t count;
  const MergedTable table = blockIdx.y == 0 ? in : blockIdx.y == 1 ? out : tree;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  const int64_t row = static_cast<int64_t>(threadIdx.x) * gridDim.x + blockIdx.x;
  if (threadIdx.x < kRowsPerBlock && row < table.rows) {
    if (const int32_t draws = table.sums.draws[row]; draws > 0) {
      table.sums.draws[row] = 0;
      const uint32_t place = atomicAdd(&count, 1u);
      drawn[place] = static_cast<int32_t>(row);
      part[place] = static_cast<float>(min(draws, kMostDraws)) / static_cast<float>(draws);
    }
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x / kWarp; i < count; i += kMergeThreads / kWarp) {
    const auto mine = static_cast<uint32_t>(drawn[i]);
    for (uint32_t column = threadIdx.x % kWarp; column < row_packs; column += kWarp) {
      unsigned long long* sum = table.sums.start + (uint64_t{4} * mine * row_packs + column);
      float4* address = table.start + (mine * row_packs + column);
      float change[4];
#pragma unroll
      for (uint32_t n = 0; n < 4; ++n) {
        const auto total = static_cast<float>(static_cast<long long>(sum[n * row_packs]));
        change[n] = total / kFixedOne * part[i];
        sum[n * row_packs] = 0;
      }
      const float4 x = *address;
      *address = make_float4(x.x + change[0], x.y + change[1], x.z + change[2], x.w + change[3]);
    }
  }
}

__global__ void add_totals_kernel(const RoundTotals* totals, double* stats) {
  unsigned long long loss = 0, inputs = 0, centers = 0, diverged = 0;
  for (int i = 0; i < kRoundTotals; ++i) {
    loss += totals[i].loss;
    inputs += totals[i].inputs;
    centers += totals[i].centers;
    diverged |= totals[i].diverged;
  }
  stats[0] += diverged != 0 ? nan("") : static_cast<double>(loss) / kLossOne;
  stats[1] += static_cast<double>(inputs);
  stats[2] += static_cast<double>(centers);
}

void start_round(const Word2vecTrainParams<float>& params, Launch& launched, cudaStream_t stream) {
  launched.round.counts = true;
  if (has_bags(params)) return start_bags(params, launched, stream);
  if (params.cbow) return start_cbow(params, launched, stream);
  Word2vecTrainParams<float> part = params;
  if (noise_per_pair(params)) {
    // Nothing of the round is seen before its end, so the two losses need not meet in one kernel.
    part.tree_table = nullptr;
    part.longest_path = 0;
    start_pair(part, launched, stream);
    if (params.tree_table == nullptr) return;
    part = params;
    part.out_table = nullptr;
    part.negatives = 0;
    launched.round.counts = false;
  }
  start_shared(part, launched, stream);
}

}  // namespace

int64_t ring_size_for(int64_t window) {
  int64_t size = kWarp;
  while (size < 2 * window + 1 + kWarp) size *= 2;
  return size;
}

}  // namespace word2vec

using namespace word2vec;

int64_t word2vec_cuda_windows_at_once(int64_t vocab_size, int64_t token_count) {
  return std::min(vocab_size / kWordsPerWarp, token_count / kTokensPerWarp);
}

int64_t word2vec_cuda_round(const Word2vecTrainParams<float>& params, int64_t token_count) {
  const int64_t suited = word2vec_cuda_windows_at_once(params.vocab_size, token_count);
  return std::max<int64_t>(params.together, std::min(suited, kMostOfRound));
}

int64_t word2vec_cuda_warp_bytes(const Word2vecTrainParams<float>& params) {
  constexpr int64_t kEntry = 8, kFloat = sizeof(float), kKept = 16;
  const int64_t contexts = 2 * int64_t{params.window}, nodes = params.longest_path;
  const int64_t noise = params.out_table == nullptr ? 0 : 1 + params.negatives;
  const auto of_targets = [&](int64_t targets, bool keeps_rows) {
    return (contexts + targets) * kEntry +
           (keeps_rows ? targets * (params.stride + contexts) * kFloat : 0);
  };
  int64_t bytes = ring_size_for(params.window) * kKept;
  if (has_bags(params)) {
    const int64_t predicted = params.cbow ? 1 : contexts;
    const int64_t drawn = noise_per_pair(params) ? predicted * params.negatives : params.negatives;
    bytes += std::min(predicted * nodes, params.vocab_size - 1) * kEntry;
    if (params.out_table != nullptr) bytes += (predicted + drawn) * kEntry;
  } else if (params.cbow) {
    bytes += (nodes + noise) * kEntry;
  } else if (noise_per_pair(params)) {
    bytes += contexts * (params.negatives * kEntry + kFloat);
    if (nodes > 0) bytes += of_targets(nodes, true);
  } else {
    const bool both = nodes > 0 && noise > 0;
    bytes += of_targets(nodes + noise, both || nodes + noise > rows_together(params));
  }
  return (bytes + 15) / 16 * 16;
}

void launch_word2vec_train(const Word2vecTrainParams<float>& params, int64_t token_count,
                           unsigned long long* next_sentence, double* stats, void* stream) {
  const Launch launched{.token_count = token_count,
                        .sentence_count = params.last_sentence - params.first_sentence,
                        .row_packs = static_cast<uint32_t>(params.stride / 4),
                        .next_sentence = next_sentence,
                        .stats = stats};
  Starter* const starter = has_bags(params)         ? start_bags
                           : params.cbow            ? start_cbow
                           : noise_per_pair(params) ? start_pair
                                                    : start_shared;
  starter(params, launched, static_cast<cudaStream_t>(stream));
}

bool launch_word2vec_rounds(const Word2vecTrainParams<float>& params, int64_t token_count,
                            const Word2vecRoundScratch& scratch, double* stats, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const int64_t first = params.first_sentence, last = params.last_sentence;
  std::vector<int64_t> offsets(static_cast<size_t>(last - first + 1));
  check_cuda(cudaMemcpyAsync(offsets.data(), params.offsets + first,
                             offsets.size() * sizeof(int64_t), cudaMemcpyDeviceToHost, cuda_stream),
             "read offsets");
  check_cuda(cudaStreamSynchronize(cuda_stream), "read offsets");
  if (offsets.front() < 0 || offsets.back() > token_count ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    return false;
  }
  auto* totals = reinterpret_cast<RoundTotals*>(scratch.totals);
  const int64_t begin = offsets.front(), end = offsets.back();
  launch(keep_tokens_kernel, dim3(blocks_for(end - begin / kWarp * kWarp, kKeepThreads)),
         dim3(kKeepThreads), 0, cuda_stream, params, begin, end, scratch.kept, &totals->diverged);
  const auto sums = [&](int table) {
    return RoundSums{scratch.sums[table], scratch.draws[table], &totals->diverged};
  };
  Launch launched{.token_count = token_count,
                  .sentence_count = last - first,
                  .row_packs = static_cast<uint32_t>(params.stride / 4)};
  Round& round = launched.round;
  round = {.kept = scratch.kept,
           .counts = true,
           .in = sums(0),
           .out = sums(1),
           .tree = sums(2),
           .totals = totals};
  const auto merged = [&](float* table, const RoundSums& sums, int64_t rows) {
    return MergedTable{reinterpret_cast<float4*>(table), sums, table == nullptr ? 0 : rows};
  };
  const auto merge = [&] {
    launch(merge_round_kernel,
           dim3(blocks_for(params.in_rows, kRowsPerBlock), params.tree_table == nullptr ? 2 : 3),
           dim3(kMergeThreads), 0, cuda_stream, merged(params.in_table, round.in, params.in_rows),
           merged(params.out_table, round.out, params.vocab_size),
           merged(params.tree_table, round.tree, params.vocab_size - 1), launched.row_packs);
  };
  const int64_t size = word2vec_cuda_round(params, token_count);
  for (int64_t group = first, next = 0; group < last; group = next) {
    next = (group / kSentencesTogether + 1) * kSentencesTogether;
    next = std::min(next, last);
    round.first_sentence = group;
    round.last_sentence = next;
    const int64_t group_end = offsets[static_cast<size_t>(next - first)];
    for (int64_t p = offsets[static_cast<size_t>(group - first)]; p < group_end; p += size) {
      round.first = p;
      round.last = std::min(p + size, group_end);
      start_round(params, launched, cuda_stream);
      merge();
    }
  }
  launch(add_totals_kernel, dim3(1), dim3(1), 0, cuda_stream, totals, stats);
  return true;
}

}  // namespace lexforge
