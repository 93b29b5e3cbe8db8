// Body of the word2vec kernel for one instruction set (contract: word2vec_train.h).
// Start with pyext/lexforge/reference/word2vec/word2vec_train.py.
//
// Work flows through three stages, a block of centres at a time, so that none waits for another's
// memory:
//   cpu/read_impl.h      tokens -> kept centres (sub-sampling and windows)
//   cpu/plan_impl.h      centres -> the rows that each window touches, in order, with labels and
//                        weights; cpu/noise_impl.h draws the noise words, cpu/own_rows_impl.h has
//                        copies of rows, of a thread's own or of a shard
//   cpu/train_impl.h     windows, each a step on its rows; meanwhile the rows of later windows are
//                        fetched
// What a step does is in cpu/window_step_impl.h alone.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/philox.h"
#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "word2vec/cpu/train_impl.h"
#include "word2vec/cpu/window_step_impl.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

template <int kStride>
using FloatStep = WindowStep<FloatLanes, FloatUpTo8, kStride, float>;
// No faster where the row length is known.
using Bfloat16Step = WindowStep<FloatLanes, FloatUpTo8, 0, Bfloat16>;
using DoubleStep = WindowStep<ScalarLanes<double>, ScalarLanes<double>, 0, double>;

}  // namespace

#ifdef LEXFORGE_ISA_BASELINE
bool word2vec_train_double(const Word2vecTrainParams<double>& params, int64_t token_count,
                           int64_t threads, ShardRows<double>* shard, void* workspace,
                           double* stats) {
  return train<DoubleStep>(params, token_count, threads, shard, workspace, stats);
}

void word2vec_merge_double(ShardRows<double>* shards, int64_t count, int64_t stride,
                           const TeamMember& member) {
  merge_shards(shards, count, stride, member);
}
#endif

void word2vec_merge(ShardRows<float>* shards, int64_t count, int64_t stride,
                    const TeamMember& member) {
  merge_shards(shards, count, stride, member);
}

void word2vec_merge_bfloat16(ShardRows<Bfloat16>* shards, int64_t count, int64_t stride,
                             const TeamMember& member) {
  merge_shards(shards, count, stride, member);
}

bool word2vec_train(const Word2vecTrainParams<float>& params, int64_t token_count, int64_t threads,
                    ShardRows<float>* shard, void* workspace, double* stats) {
  switch (params.stride) {  // 50, 100, 128, 200 and 300 dimensions
    case 64:
      return train<FloatStep<64>>(params, token_count, threads, shard, workspace, stats);
    case 112:
      return train<FloatStep<112>>(params, token_count, threads, shard, workspace, stats);
    case 128:
      return train<FloatStep<128>>(params, token_count, threads, shard, workspace, stats);
    case 208:
      return train<FloatStep<208>>(params, token_count, threads, shard, workspace, stats);
    case 304:
      return train<FloatStep<304>>(params, token_count, threads, shard, workspace, stats);
    default:
      return train<FloatStep<0>>(params, token_count, threads, shard, workspace, stats);
  }
}

bool word2vec_train_bfloat16(const Word2vecTrainParams<Bfloat16>& params, int64_t token_count,
                             int64_t threads, ShardRows<Bfloat16>* shard, void* workspace,
                             double* stats) {
  return train<Bfloat16Step>(params, token_count, threads, shard, workspace, stats);
}

}  // namespace lexforge::LEXFORGE_ISA
