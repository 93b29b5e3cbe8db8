// The third stage, and the three together: windows are trained while the rows of later ones are
// fetched. Knows nothing of what a step on a window does. A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "word2vec/cpu/plan_impl.h"
#include "word2vec/cpu/read_impl.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// Trains on params' sentences with a Step on each window: Word2vecTrainFunction's contract. A Step
// is made of (params, sizes, own rows, carver). step.begin(plan) and step.end(plan) are called around the
// windows of a plan. step.train(plan, window, ahead, loss) updates the rows of a window and adds to
// the loss; it calls ahead.fetch() between, so that memory and arithmetic are busy together.
template <typename Step>
bool train(const Word2vecTrainParams<typename Step::row_t>& params, int64_t token_count,
           int64_t threads, ShardRows<typename Step::row_t>* shard, void* workspace,
           double* stats) {
  using row_t = typename Step::row_t;
  const Word2vecTrainPlan sizes(params, threads);
  Carver carve(workspace);
  Kept<row_t> kept(sizes.kept + Reader<row_t>::kSpan + 1, carve);
  // One plan is trained when the next is made, so that its rows can be fetched in time.
  OwnRows<row_t> own(params, sizes, threads, shard, carve);
  Plan<row_t> plans[2] = {{params, sizes, own, carve}, {params, sizes, own, carve}};
  int64_t made = 0;
  Step step(params, sizes, own, carve);
  Reader<row_t> reader(params, token_count);
  const auto finish = [&](const Plan<row_t>& plan, const Plan<row_t>& next) {
    double loss = 0;
    step.begin(plan);
    for (int64_t i = 0; i < plan.size; ++i) {
      const Window<row_t>& window = plan.window[i];
      Ahead<row_t> ahead(plan, next, window.first_cold, window.end_cold);
      step.train(plan, window, ahead, loss);
    }
    step.end(plan);
    stats[0] += loss;
    stats[1] += static_cast<double>(plan.inputs);
    stats[2] += static_cast<double>(plan.centers);
  };

  int64_t planned = 0;  // entries of `kept` before it serve as contexts only
  while (true) {
    reader.fill(kept, sizes.kept);
    if (!reader.valid()) return false;
    // A sentence may go on beyond what has been read: hold back the centres that could see it.
    // Those whose lists are fetched ahead are wanted, too.
    const int64_t seen = params.window + sizes.begin_ahead;
    const int64_t ready = reader.done() ? kept.size : kept.size - seen;
    while (planned < ready) {
      const int64_t begin = planned;
      int64_t end = begin + sizes.planned < ready ? begin + sizes.planned : ready;
      if (sizes.sums) {
        // How sums are rounded depends on the plan, and what is learned must not depend on where a
        // call begins: a plan is part of a sentence, and the next one begins where it must.
        const int64_t limit = end;
        for (end = begin + 1; end < limit && kept.sentence[end] == kept.sentence[begin];) ++end;
        const bool cut = end == ready && end < begin + sizes.planned;
        if (cut && !reader.done() && kept.sentence[end] == kept.sentence[begin]) break;
      }
      planned = end;
      plans[made % 2].make(kept, begin, planned);
      if (!plans[made % 2].valid) return false;
      if (made > 0) finish(plans[(made - 1) % 2], plans[made % 2]);
      ++made;
    }
    if (reader.done()) break;
    const int64_t dropped = planned > params.window ? planned - params.window : 0;
    kept.drop_front(dropped);
    planned -= dropped;
  }
  if (made > 0) {
    plans[made % 2].clear();
    finish(plans[(made - 1) % 2], plans[made % 2]);
  }
  own.merge();
  return true;
}

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
