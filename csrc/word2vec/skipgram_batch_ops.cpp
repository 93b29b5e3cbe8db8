// CPU binding of skipgram_batch.h, and of training on its minibatches.
#include <cstring>
#include <tuple>
#include <vector>

#include "common/cpu_binding.h"
#include "sampling/sampling_binding.h"
#include "word2vec/skipgram_batch.h"
#include "word2vec/skipgram_step_cpu.h"
#include "word2vec/skipgram_workspace.h"

namespace lexforge {
namespace {

constexpr int64_t kSentencesPerTask = 512;

std::tuple<Tensor, Tensor, Tensor> skipgram_windows_cpu(const Tensor& tokens, const Tensor& offsets,
                                                        const Tensor& keep, int64_t window,
                                                        bool dynamic_window, int64_t seed,
                                                        int64_t epoch) {
  const Checks check("skipgram_windows", "tokens", tokens);
  check.tensor("tokens", tokens, ScalarType::Int, {Checks::kAny});
  check.tensor("offsets", offsets, ScalarType::Long, {Checks::kAny});
  check.tensor("keep", keep, ScalarType::Float, {Checks::kAny});
  check.that(window >= 1 && window <= 1000, "window must be in [1, 1000], got ", window);
  check.that(offsets.size(0) >= 1, "offsets must be [S + 1], got [0]");
  const SkipgramWindowsParams params{data<const int32_t>(tokens),
                                     data<const int64_t>(offsets),
                                     data<const float>(keep),
                                     static_cast<int32_t>(window),
                                     dynamic_window,
                                     static_cast<uint64_t>(seed),
                                     static_cast<uint32_t>(epoch)};
  const int64_t sentences = offsets.size(0) - 1;
  for (int64_t s = 0; s <= sentences; ++s) {
    check.that(params.offsets[s] >= (s > 0 ? params.offsets[s - 1] : 0) &&
                   params.offsets[s] <= tokens.numel(),
               "offsets must rise from 0 to the number of tokens");
  }
  CpuCall::check_ids(check, "tokens", tokens, keep.size(0));

  // Tasks count, take their places, and write.
  const int64_t tasks = (sentences + kSentencesPerTask - 1) / kSentencesPerTask;
  const auto end_of = [&](int64_t task) {
    return std::min(sentences, (task + 1) * kSentencesPerTask);
  };
  std::vector<SkipgramWindowsCount> before(tasks + 1, SkipgramWindowsCount{0, 0});
  parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      before[t + 1] = count_windows(params, t * kSentencesPerTask, end_of(t));
    }
  });
  for (int64_t t = 0; t < tasks; ++t) {
    before[t + 1].kept += before[t].kept;
    before[t + 1].centers += before[t].centers;
  }
  check.that(before[tasks].kept <= INT32_MAX, "more than 2^31 - 1 kept tokens");
  Tensor kept_tokens = new_empty(tokens, {before[tasks].kept});
  Tensor kept_positions = new_empty(offsets, {before[tasks].kept});
  Tensor centers = new_empty(tokens, {before[tasks].centers, kCenterFields});
  parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      write_windows(params, t * kSentencesPerTask, end_of(t), before[t].kept,
                    data<int32_t>(kept_tokens) + before[t].kept,
                    data<int64_t>(kept_positions) + before[t].kept,
                    data<int32_t>(centers) + before[t].centers * kCenterFields);
    }
  });
  return {kept_tokens, kept_positions, centers};
}

SkipgramSource source_of(const Checks& check, const Tensor& kept_tokens,
                         const Tensor& kept_positions, const Tensor& centers, const Tensor& order,
                         const Tensor& noise, int64_t window, int64_t negatives, int64_t seed,
                         int64_t epoch, int64_t first, int64_t last) {
  check.tensor("kept_tokens", kept_tokens, ScalarType::Int, {Checks::kAny});
  check.tensor("kept_positions", kept_positions, ScalarType::Long, {kept_tokens.size(0)});
  check.tensor("centers", centers, ScalarType::Int, {Checks::kAny, kCenterFields});
  check.tensor("order", order, ScalarType::Long, {Checks::kAny});
  const AliasEntry* entries = alias_table<CpuCall>(check, "noise", noise);
  check.that(window >= 1 && window <= 1000 && negatives >= 0 && negatives <= 1000,
             "window must be in [1, 1000] and negatives in [0, 1000], got ", window, " and ",
             negatives);
  check.range("examples", first, last, order.size(0));
  return {data<const int32_t>(kept_tokens),
          data<const int64_t>(kept_positions),
          kept_tokens.size(0),
          data<const int32_t>(centers),
          centers.size(0),
          data<const int64_t>(order),
          entries,
          noise.size(0),
          window,
          negatives,
          static_cast<uint64_t>(seed),
          static_cast<uint32_t>(epoch)};
}

SkipgramDraw carve_draw(Carver& carve, int64_t batch, int64_t contexts, int64_t negatives) {
  return {carve.take<int32_t>(batch * contexts + 1), carve.take<int64_t>(batch + 1),
          carve.take<int64_t>(batch), carve.take<int32_t>(batch * contexts * negatives)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> skipgram_batch_cpu(
    const Tensor& kept_tokens, const Tensor& kept_positions, const Tensor& centers,
    const Tensor& order, const Tensor& noise, int64_t window, int64_t negatives, int64_t seed,
    int64_t epoch, int64_t first, int64_t last, int64_t length) {
  const Checks check("skipgram_batch", "kept_tokens", kept_tokens);
  const SkipgramSource source = source_of(check, kept_tokens, kept_positions, centers, order, noise,
                                          window, negatives, seed, epoch, first, last);
  const int64_t size = last - first;
  const SkipgramStepSizes sizes{size, size * source.most_slots(), 0, 0, 0};
  check.that(sizes.slots <= INT32_MAX, "too many targets in one batch");
  Carver measure(nullptr);
  carve_minibatch(measure, sizes);
  carve_draw(measure, size, source.most_contexts(), negatives);
  std::vector<char> memory(measure.used());
  Carver carve(memory.data());
  SkipgramMinibatch batch = carve_minibatch(carve, sizes);
  SkipgramDraw draw = carve_draw(carve, size, source.most_contexts(), negatives);
  check.that(draw_minibatch(source, first, last, draw, batch),
             "order, centers or kept_tokens out of range");

  int64_t longest = 0;
  for (int64_t b = 0; b < size; ++b) {
    longest = std::max<int64_t>(longest, batch.begin[b + 1] - batch.begin[b]);
  }
  if (length == 0) length = longest;
  check.that(longest <= length, "length must be 0 or at least ", longest, ", got ", length);
  Tensor center = new_empty(kept_tokens, {size});
  Tensor target = new_zeros(kept_tokens, {size, length});
  Tensor mask = new_zeros(kept_tokens, {size, length}, ScalarType::Byte);
  Tensor label = new_zeros(kept_tokens, {size, length}, ScalarType::Byte);
  std::copy_n(batch.center, size, data<int32_t>(center));
  for (int64_t b = 0; b < size; ++b) {
    const int64_t begin = batch.begin[b], slots = batch.begin[b + 1] - begin;
    std::copy_n(batch.target + begin, slots, data<int32_t>(target) + b * length);
    std::fill_n(data<uint8_t>(mask) + b * length, slots, uint8_t{1});
    std::fill_n(data<uint8_t>(label) + b * length, draw.offsets[b + 1] - draw.offsets[b],
                uint8_t{1});
  }
  return {center, target, mask, label};
}

// Batches that are drawn and grouped at a time, each by one thread, before they are trained on one
// after the other: no thread waits for another while it draws.
constexpr int64_t kDrawnBatches = 8;

struct EpochWorkspace {
  SkipgramMinibatch batch[kDrawnBatches];
  SkipgramDraw draw[kDrawnBatches];
  int32_t* head[kDrawnBatches];

  EpochWorkspace(Carver& carve, const SkipgramStepSizes& sizes, int64_t contexts, int64_t negatives,
                 SkipgramStepParams& params) {
    for (int64_t i = 0; i < kDrawnBatches; ++i) {
      batch[i] = carve_minibatch(carve, sizes);
      draw[i] = carve_draw(carve, sizes.batch, contexts, negatives);
      head[i] = carve_head(carve, sizes);
    }
    carve_scratch(carve, sizes, params);
  }
};

int64_t skipgram_epoch_workspace(int64_t batch, int64_t slots, int64_t contexts, int64_t negatives,
                                 int64_t in_rows, int64_t out_rows, int64_t stride) {
  Carver carve(nullptr);
  SkipgramStepParams params{};
  EpochWorkspace(carve, {batch, slots, in_rows, out_rows, stride}, contexts, negatives, params);
  return carve.used();
}

void skipgram_epoch_cpu(Tensor& in_table, Tensor& out_table, Tensor& in_moments,
                        Tensor& out_moments, Tensor& in_last, Tensor& out_last, Tensor& history,
                        Tensor& workspace, Tensor& stats, const Tensor& kept_tokens,
                        const Tensor& kept_positions, const Tensor& centers, const Tensor& order,
                        const Tensor& noise, int64_t window, int64_t negatives, int64_t seed,
                        int64_t epoch, int64_t first, int64_t last, int64_t batch_size,
                        std::string optimizer, int64_t step, double lr, double beta1, double beta2,
                        double eps) {
  const Checks check("skipgram_epoch_", "in_table", in_table);
  const SkipgramStepState state{
      in_table, out_table, in_moments, out_moments,
      in_last,  out_last,  history,    {parse_optimizer(check, optimizer), lr, beta1, beta2, eps},
      step};
  SkipgramStepParams params = state.params(check);
  const SkipgramSource source = source_of(check, kept_tokens, kept_positions, centers, order, noise,
                                          window, negatives, seed, epoch, first, last);
  check.tensor("stats", stats, ScalarType::Double, {3});
  state.check_apart(check, workspace, "stats", stats,
                    {{"kept_tokens", kept_tokens},
                     {"kept_positions", kept_positions},
                     {"centers", centers},
                     {"order", order},
                     {"noise", noise}});
  const int64_t largest = INT32_MAX / source.most_slots();  // slots are int32
  check.that(batch_size >= 1 && batch_size <= largest, "batch_size must be 1 to ", largest,
             " with window ", window, " and negatives ", negatives, ", got ", batch_size);
  check.that(source.vocab_size <= std::min(params.in.size, params.out.size),
             "tables must have a row for each of the ", source.vocab_size, " noise words");
  const SkipgramStepSizes sizes{batch_size, batch_size * source.most_slots(), params.in.size,
                                params.out.size, params.stride};
  check_workspace(check, workspace, "skipgram_epoch_workspace",
                  skipgram_epoch_workspace(sizes.batch, sizes.slots, source.most_contexts(),
                                           negatives, sizes.in_rows, sizes.out_rows, sizes.stride));
  Carver carve(workspace.data_ptr());
  EpochWorkspace work(carve, sizes, source.most_contexts(), negatives, params);
  for (int32_t* head : work.head) {
    std::memset(head, 0, sizeof(int32_t) * std::max(params.in.size, params.out.size));
  }

  AdamStep adam;
  StepThreads threads;
  double* totals = data<double>(stats);
  while (first < last) {
    const int64_t batches = std::min(kDrawnBatches, (last - first + batch_size - 1) / batch_size);
    std::atomic<bool> valid{true};
    threads.begin_span();
    threads.run(batches, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t from = first + i * batch_size, to = std::min(last, from + batch_size);
        if (draw_minibatch(source, from, to, work.draw[i], work.batch[i])) {
          group_minibatch(work.head[i], work.batch[i]);
        } else {
          valid = false;
        }
      }
    });
    check.that(valid, "order, centers or kept_tokens out of range");
    for (int64_t i = 0; i < batches; ++i, ++params.step) {
      params.batch = work.batch[i];
      run_step_cpu(params, state.settings, state.past(), adam, threads);
      for (int64_t b = 0; b < params.batch.size; ++b) totals[0] += params.loss[b];
      totals[1] += static_cast<double>(params.batch.size);
      totals[2] += static_cast<double>(params.batch.begin[params.batch.size]);
    }
    threads.end_span();
    first += batches * batch_size;
  }
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CompositeExplicitAutograd, m) {
  m.impl("skipgram_epoch_workspace", TORCH_BOX(&lexforge::skipgram_epoch_workspace));
}

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("skipgram_windows", TORCH_BOX(&lexforge::skipgram_windows_cpu));
  m.impl("skipgram_batch", TORCH_BOX(&lexforge::skipgram_batch_cpu));
  m.impl("skipgram_epoch_", TORCH_BOX(&lexforge::skipgram_epoch_cpu));
}
