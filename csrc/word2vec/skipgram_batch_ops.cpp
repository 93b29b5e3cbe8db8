// CPU binding of skipgram_batch.h, and of training on its minibatches.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "common/check.h"
#include "word2vec/skipgram_batch.h"
#include "word2vec/skipgram_step_cpu.h"
#include "word2vec/skipgram_workspace.h"

namespace lexforge {
namespace {

using torch::stable::parallel_for;

constexpr int64_t kSentencesPerTask = 512;

std::tuple<Tensor, Tensor, Tensor> skipgram_windows_cpu(const Tensor& tokens, const Tensor& offsets,
                                                        const Tensor& keep, int64_t window,
                                                        bool dynamic_window, int64_t seed,
                                                        int64_t epoch) {
  const char* op = "skipgram_windows";
  check_contiguous(tokens, ScalarType::Int, 1, op, "tokens");
  check_contiguous(offsets, ScalarType::Long, 1, op, "offsets");
  check_contiguous(keep, ScalarType::Float, 1, op, "keep");
  STD_TORCH_CHECK(window >= 1 && window <= 1000, op, ": window must be in [1, 1000], got ", window);
  STD_TORCH_CHECK(offsets.size(0) >= 1, op, ": offsets must be [S + 1]");
  const SkipgramWindowsParams params{data<const int32_t>(tokens),
                                     data<const int64_t>(offsets),
                                     data<const float>(keep),
                                     static_cast<int32_t>(window),
                                     dynamic_window,
                                     static_cast<uint64_t>(seed),
                                     static_cast<uint32_t>(epoch)};
  const int64_t sentences = offsets.size(0) - 1;
  for (int64_t s = 0; s <= sentences; ++s) {
    STD_TORCH_CHECK(params.offsets[s] >= (s > 0 ? params.offsets[s - 1] : 0) &&
                        params.offsets[s] <= tokens.numel(),
                    op, ": offsets must rise from 0 to the number of tokens");
  }
  uint32_t largest = 0;
  for (int64_t p = 0; p < tokens.numel(); ++p) {
    largest = std::max(largest, static_cast<uint32_t>(params.tokens[p]));
  }
  STD_TORCH_CHECK(tokens.numel() == 0 || largest < keep.size(0), op, ": tokens must be in [0, ",
                  keep.size(0), ")");

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
  STD_TORCH_CHECK(before[tasks].kept <= INT32_MAX, op, ": more than 2^31 - 1 kept tokens");
  Tensor kept_tokens = torch::stable::new_empty(tokens, {before[tasks].kept});
  Tensor kept_positions = torch::stable::new_empty(offsets, {before[tasks].kept});
  Tensor centers = torch::stable::new_empty(tokens, {before[tasks].centers, kCenterFields});
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

SkipgramSource source_of(const char* op, const Tensor& kept_tokens, const Tensor& kept_positions,
                         const Tensor& centers, const Tensor& order, const Tensor& noise,
                         int64_t window, int64_t negatives, int64_t seed, int64_t epoch,
                         int64_t first, int64_t last) {
  check_contiguous(kept_tokens, ScalarType::Int, 1, op, "kept_tokens");
  check_contiguous(kept_positions, ScalarType::Long, 1, op, "kept_positions");
  check_contiguous(centers, ScalarType::Int, 2, op, "centers");
  check_contiguous(order, ScalarType::Long, 1, op, "order");
  check_contiguous(noise, ScalarType::Int, 2, op, "noise");
  STD_TORCH_CHECK(kept_positions.size(0) == kept_tokens.size(0), op,
                  ": kept_positions must be as long as kept_tokens");
  STD_TORCH_CHECK(centers.size(1) == kCenterFields, op, ": centers must be [C, ", kCenterFields,
                  "]");
  STD_TORCH_CHECK(noise.size(0) >= 1 && noise.size(1) == 2, op, ": noise must be [V, 2]");
  STD_TORCH_CHECK(window >= 1 && window <= 1000 && negatives >= 0 && negatives <= 1000, op,
                  ": window must be in [1, 1000] and negatives in [0, 1000], got ", window, " and ",
                  negatives);
  STD_TORCH_CHECK(0 <= first && first <= last && last <= order.size(0), op,
                  ": examples must be a range within [0, ", order.size(0), "], got [", first, ", ",
                  last, ")");
  return {data<const int32_t>(kept_tokens),
          data<const int64_t>(kept_positions),
          kept_tokens.size(0),
          data<const int32_t>(centers),
          centers.size(0),
          data<const int64_t>(order),
          reinterpret_cast<const AliasEntry*>(data<const int32_t>(noise)),
          noise.size(0),
          window,
          negatives,
          static_cast<uint64_t>(seed),
          static_cast<uint32_t>(epoch)};
}

SkipgramDraw carve_draw(WorkspaceCarver& carve, int64_t batch, int64_t contexts,
                        int64_t negatives) {
  return {carve.take<int32_t>(batch * contexts + 1), carve.take<int64_t>(batch + 1),
          carve.take<int64_t>(batch), carve.take<int32_t>(batch * contexts * negatives)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> skipgram_batch_cpu(
    const Tensor& kept_tokens, const Tensor& kept_positions, const Tensor& centers,
    const Tensor& order, const Tensor& noise, int64_t window, int64_t negatives, int64_t seed,
    int64_t epoch, int64_t first, int64_t last, int64_t length) {
  const char* op = "skipgram_batch";
  const SkipgramSource source = source_of(op, kept_tokens, kept_positions, centers, order, noise,
                                          window, negatives, seed, epoch, first, last);
  const int64_t size = last - first;
  const SkipgramStepSizes sizes{size, size * source.most_slots(), 0, 0, 0};
  STD_TORCH_CHECK(sizes.slots <= INT32_MAX, op, ": too many targets in one batch");
  WorkspaceCarver measure(nullptr);
  carve_minibatch(measure, sizes);
  carve_draw(measure, size, source.most_contexts(), negatives);
  std::vector<char> memory(measure.used());
  WorkspaceCarver carve(memory.data());
  SkipgramMinibatch batch = carve_minibatch(carve, sizes);
  SkipgramDraw draw = carve_draw(carve, size, source.most_contexts(), negatives);
  STD_TORCH_CHECK(draw_minibatch(source, first, last, draw, batch), op,
                  ": order, centers or kept_tokens out of range");

  int64_t longest = 0;
  for (int64_t b = 0; b < size; ++b) {
    longest = std::max<int64_t>(longest, batch.begin[b + 1] - batch.begin[b]);
  }
  if (length == 0) length = longest;
  STD_TORCH_CHECK(longest <= length, op, ": length must be 0 or at least ", longest, ", got ",
                  length);
  Tensor center = torch::stable::new_empty(kept_tokens, {size});
  Tensor target = torch::stable::new_zeros(kept_tokens, {size, length});
  Tensor mask = torch::stable::new_zeros(kept_tokens, {size, length}, ScalarType::Byte);
  Tensor label = torch::stable::new_zeros(kept_tokens, {size, length}, ScalarType::Byte);
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

  EpochWorkspace(WorkspaceCarver& carve, const SkipgramStepSizes& sizes, int64_t contexts,
                 int64_t negatives, SkipgramStepParams& params) {
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
  WorkspaceCarver carve(nullptr);
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
  const char* op = "skipgram_epoch_";
  const AdamSettings settings{parse_optimizer(op, optimizer), lr, beta1, beta2, eps};
  SkipgramStepParams params = step_params(op, in_table, out_table, in_moments, out_moments, in_last,
                                          out_last, settings, step);
  double* past = step_history(op, history);
  const SkipgramSource source = source_of(op, kept_tokens, kept_positions, centers, order, noise,
                                          window, negatives, seed, epoch, first, last);
  check_contiguous(stats, ScalarType::Double, 1, op, "stats");
  STD_TORCH_CHECK(stats.size(0) == 3, op, ": stats must be [3], got ", stats.size(0));
  STD_TORCH_CHECK(batch_size >= 1, op, ": batch_size must be positive, got ", batch_size);
  STD_TORCH_CHECK(source.vocab_size <= std::min(params.in.size, params.out.size), op,
                  ": tables must have a row for each of the ", source.vocab_size, " noise words");
  const SkipgramStepSizes sizes{batch_size, batch_size * source.most_slots(), params.in.size,
                                params.out.size, params.stride};
  STD_TORCH_CHECK(sizes.slots <= INT32_MAX, op, ": too many targets in one batch");
  check_contiguous(workspace, ScalarType::Byte, 1, op, "workspace");
  STD_TORCH_CHECK(
      workspace.size(0) >= skipgram_epoch_workspace(sizes.batch, sizes.slots,
                                                    source.most_contexts(), negatives,
                                                    sizes.in_rows, sizes.out_rows, sizes.stride) &&
          reinterpret_cast<uintptr_t>(workspace.data_ptr()) % 64 == 0,
      op, ": workspace must be as large as skipgram_epoch_workspace says, and aligned");
  WorkspaceCarver carve(workspace.data_ptr());
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
    STD_TORCH_CHECK(valid, op, ": order, centers or kept_tokens out of range");
    for (int64_t i = 0; i < batches; ++i, ++params.step) {
      params.batch = work.batch[i];
      run_step_cpu(params, settings, past, adam, threads);
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
