// CPU binding of skipgram_step.h.
#include <cstring>

#include "common/cpu_binding.h"
#include "word2vec/skipgram_step_cpu.h"
#include "word2vec/skipgram_workspace.h"

namespace lexforge {
namespace {

constexpr int64_t kGroupsPerTask = 64;
constexpr int64_t kExamplesPerTask = 16;
constexpr int64_t kCostPerTask = 1024;
// An optimiser's update of a row against adding one occurrence to its gradient.
constexpr int64_t kCostPerRow = 24;

template <typename Kernel>
void update_groups(Kernel* kernel, const SkipgramStepParams& params, const RowGroups& groups,
                   int64_t first_cost, int64_t last_cost) {
  const int64_t first = group_at(groups.begin, groups.count, kCostPerRow, first_cost);
  const int64_t last = group_at(groups.begin, groups.count, kCostPerRow, last_cost);
  if (first < last) kernel(params, first, last);
}

}  // namespace

void sync_tables_cpu(const SkipgramStepParams& params, const AdamSettings& settings,
                     const double* history, AdamStep& adam, int64_t done,
                     const StepThreads& threads) {
  describe_pending(adam, history, settings, done);
  auto* sync = LEXFORGE_CHOOSE(skipgram_sync);
  for (const SkipgramTable* table : {&params.in, &params.out}) {
    threads.run(table->size, kGroupsPerTask, [&](int64_t first, int64_t last) {
      sync(*table, params.stride, adam, done, first, last);
    });
  }
}

void run_step_cpu(SkipgramStepParams& params, const AdamSettings& settings, double* history,
                  AdamStep& adam, const StepThreads& threads) {
  const SkipgramMinibatch& batch = params.batch;
  if (is_adam(params.optimizer)) {
    if (params.optimizer == SkipgramOptimizer::kAdam && params.step > 1 &&
        (params.step - 1) % kMaxPending == 0) {
      sync_tables_cpu(params, settings, history, adam, params.step - 1, threads);
    }
    begin_adam_step(adam, history, settings, params.step);
    params.adam = &adam;
  }
  if (params.optimizer == SkipgramOptimizer::kAdam) {
    auto* refresh = LEXFORGE_CHOOSE(skipgram_step_refresh);
    threads.run(batch.targets.count, kGroupsPerTask,
                [&](int64_t first, int64_t last) { refresh(params, first, last); });
  }
  auto* examples = LEXFORGE_CHOOSE(skipgram_step_examples);
  threads.run(batch.size, kExamplesPerTask,
              [&](int64_t first, int64_t last) { examples(params, first, last); });
  auto* update_out = LEXFORGE_CHOOSE(skipgram_step_update_out);
  auto* update_in = LEXFORGE_CHOOSE(skipgram_step_update_in);
  // Both tables in one range: first the out rows, then the in rows, by cost.
  const int64_t out_cost = group_cost(batch.targets.begin, batch.targets.count, kCostPerRow);
  const int64_t in_cost = group_cost(batch.centers.begin, batch.centers.count, kCostPerRow);
  threads.run(out_cost + in_cost, kCostPerTask, [&](int64_t first, int64_t last) {
    update_groups(update_out, params, batch.targets, std::min(first, out_cost),
                  std::min(last, out_cost));
    update_groups(update_in, params, batch.centers, std::max(first - out_cost, int64_t{0}),
                  std::max(last - out_cost, int64_t{0}));
  });
}

namespace {

// Gathers the unmasked slots of a padded minibatch; throws on a row out of range.
void pack_minibatch(const Checks& check, const SkipgramStepBatch& from,
                    const SkipgramStepParams& params, int32_t* head, SkipgramMinibatch& batch) {
  const auto* centers = data<const int32_t>(from.center);
  const auto* targets = data<const int32_t>(from.target);
  const auto *masks = data<const float>(from.mask), *labels = data<const float>(from.label);
  const int64_t length = from.target.size(1);
  batch.size = from.center.size(0);
  int32_t used = 0;
  for (int64_t b = 0; b < batch.size; ++b) {
    check.that(static_cast<uint32_t>(centers[b]) < params.in.size, "center must be in [0, ",
               params.in.size, "), got ", centers[b]);
    batch.center[b] = centers[b];
    batch.begin[b] = used;
    float total = 0;
    for (int64_t i = b * length; i < (b + 1) * length; ++i) {
      check.that(static_cast<uint32_t>(targets[i]) < params.out.size,
                 "contexts_and_negatives must be in [0, ", params.out.size, "), got ", targets[i]);
      if (masks[i] == 0) continue;
      total += masks[i];
      batch.target[used] = targets[i];
      batch.example[used] = static_cast<int32_t>(b);
      batch.weight[used] = masks[i];
      batch.label[used] = labels[i];
      ++used;
    }
    const float scale = total > 0 ? 1 / total : 0.0f;
    for (int32_t i = batch.begin[b]; i < used; ++i) batch.weight[i] *= scale;
  }
  batch.begin[batch.size] = used;
  std::memset(head, 0, sizeof(int32_t) * std::max(params.in.size, params.out.size));
  group_minibatch(head, batch);
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  void run(const Checks& check, SkipgramStepParams& params, const SkipgramStepState& state,
           const SkipgramStepBatch& batch, const Tensor& workspace) const {
    const int64_t size = batch.center.size(0);
    const SkipgramStepSizes sizes{size, batch.target.numel(), params.in.size, params.out.size,
                                  params.stride};
    check_workspace(
        check, workspace, "skipgram_step_workspace",
        skipgram_step_workspace(size, sizes.slots, sizes.in_rows, sizes.out_rows, sizes.stride));
    Carver carve(workspace.data_ptr());
    params.batch = carve_minibatch(carve, sizes);
    carve_scratch(carve, sizes, params);
    pack_minibatch(check, batch, params, carve_head(carve, sizes), params.batch);
    AdamStep adam;
    run_step_cpu(params, state.settings, state.past(), adam, StepThreads());
    std::copy_n(params.loss, size, data<float>(batch.loss));
  }

  void sync(const SkipgramStepParams& params, const SkipgramStepState& state) const {
    AdamStep adam;
    sync_tables_cpu(params, state.settings, state.past(), adam, state.step, StepThreads());
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("skipgram_step_", TORCH_BOX(&lexforge::skipgram_step<lexforge::Cpu>));
  m.impl("skipgram_sync_", TORCH_BOX(&lexforge::skipgram_sync<lexforge::Cpu>));
}
