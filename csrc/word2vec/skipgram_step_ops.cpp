// CPU binding of skipgram_step.h.
#include <algorithm>
#include <cstring>
#include <string>

#include "common/cpu_capability.h"
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
  auto* sync = choose(&baseline::skipgram_sync, &avx2::skipgram_sync, &avx512::skipgram_sync);
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
    auto* refresh = choose(&baseline::skipgram_step_refresh, &avx2::skipgram_step_refresh,
                           &avx512::skipgram_step_refresh);
    threads.run(batch.targets.count, kGroupsPerTask,
                [&](int64_t first, int64_t last) { refresh(params, first, last); });
  }
  auto* examples = choose(&baseline::skipgram_step_examples, &avx2::skipgram_step_examples,
                          &avx512::skipgram_step_examples);
  threads.run(batch.size, kExamplesPerTask,
              [&](int64_t first, int64_t last) { examples(params, first, last); });
  auto* update_out = choose(&baseline::skipgram_step_update_out, &avx2::skipgram_step_update_out,
                            &avx512::skipgram_step_update_out);
  auto* update_in = choose(&baseline::skipgram_step_update_in, &avx2::skipgram_step_update_in,
                           &avx512::skipgram_step_update_in);
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
void pack_minibatch(const char* op, const Tensor& center, const Tensor& target, const Tensor& mask,
                    const Tensor& label, const SkipgramStepParams& params, int32_t* head,
                    SkipgramMinibatch& batch) {
  const auto *centers = data<const int32_t>(center), *targets = data<const int32_t>(target);
  const auto *masks = data<const float>(mask), *labels = data<const float>(label);
  const int64_t length = target.size(1);
  batch.size = center.size(0);
  int32_t used = 0;
  for (int64_t b = 0; b < batch.size; ++b) {
    STD_TORCH_CHECK(static_cast<uint32_t>(centers[b]) < params.in.size, op,
                    ": center must be in [0, ", params.in.size, "), got ", centers[b]);
    batch.center[b] = centers[b];
    batch.begin[b] = used;
    float total = 0;
    for (int64_t i = b * length; i < (b + 1) * length; ++i) {
      STD_TORCH_CHECK(static_cast<uint32_t>(targets[i]) < params.out.size, op,
                      ": contexts_and_negatives must be in [0, ", params.out.size, "), got ",
                      targets[i]);
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

void skipgram_step_cpu(Tensor& in_table, Tensor& out_table, Tensor& in_moments, Tensor& out_moments,
                       Tensor& in_last, Tensor& out_last, Tensor& history, Tensor& workspace,
                       Tensor& loss, const Tensor& center, const Tensor& target, const Tensor& mask,
                       const Tensor& label, std::string optimizer, int64_t step, double lr,
                       double beta1, double beta2, double eps) {
  const char* op = "skipgram_step_";
  const AdamSettings settings{parse_optimizer(op, optimizer), lr, beta1, beta2, eps};
  SkipgramStepParams params = step_params(op, in_table, out_table, in_moments, out_moments, in_last,
                                          out_last, settings, step);
  double* past = step_history(op, history);
  check_step_batch(op, in_table, center, target, mask, label, loss);
  const int64_t batch = center.size(0);
  const SkipgramStepSizes sizes{batch, target.numel(), params.in.size, params.out.size,
                                params.stride};
  check_contiguous(workspace, ScalarType::Byte, 1, op, "workspace");
  STD_TORCH_CHECK(workspace.size(0) >= skipgram_step_workspace(batch, sizes.slots, sizes.in_rows,
                                                               sizes.out_rows, sizes.stride) &&
                      reinterpret_cast<uintptr_t>(workspace.data_ptr()) % 64 == 0,
                  op, ": workspace must be as large as skipgram_step_workspace says, and aligned");
  WorkspaceCarver carve(workspace.data_ptr());
  params.batch = carve_minibatch(carve, sizes);
  carve_scratch(carve, sizes, params);
  pack_minibatch(op, center, target, mask, label, params, carve_head(carve, sizes), params.batch);
  AdamStep adam;
  run_step_cpu(params, settings, past, adam, StepThreads());
  std::copy_n(params.loss, batch, data<float>(loss));
}

void skipgram_sync_cpu(Tensor& in_table, Tensor& out_table, Tensor& in_moments, Tensor& out_moments,
                       Tensor& in_last, Tensor& out_last, Tensor& history, std::string optimizer,
                       int64_t step, double lr, double beta1, double beta2, double eps) {
  const char* op = "skipgram_sync_";
  const AdamSettings settings{parse_optimizer(op, optimizer), lr, beta1, beta2, eps};
  SkipgramStepParams params = step_params(op, in_table, out_table, in_moments, out_moments, in_last,
                                          out_last, settings, step);
  double* past = step_history(op, history);
  if (settings.optimizer != SkipgramOptimizer::kAdam) return;
  AdamStep adam;
  sync_tables_cpu(params, settings, past, adam, step, StepThreads());
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("skipgram_step_", TORCH_BOX(&lexforge::skipgram_step_cpu));
  m.impl("skipgram_sync_", TORCH_BOX(&lexforge::skipgram_sync_cpu));
}
