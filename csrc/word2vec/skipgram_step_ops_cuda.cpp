// CUDA binding of skipgram_step.h. Row numbers are checked by the Python wrapper; `history` is a
// tensor on the CPU.
#include "common/cuda_binding.h"
#include "common/run_parts.h"
#include "common/sorted_rows.h"
#include "word2vec/skipgram_step_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  using CudaCall::CudaCall;

  void sync(const SkipgramStepParams& params, const SkipgramStepState& state) const {
    sync_tables(params, state, state.step);
  }

  void run(const Checks&, const SkipgramStepParams& tables, const SkipgramStepState& state,
           const SkipgramStepBatch& batch, const Tensor& /*workspace*/) const {
    SkipgramStepCudaParams params{};
    params.in = tables.in;
    params.out = tables.out;
    params.stride = tables.stride;
    params.optimizer = tables.optimizer;
    params.lr = tables.lr;
    params.epsilon = tables.epsilon;
    params.step = tables.step;
    params.center = data<const int32_t>(batch.center);
    params.target = data<const int32_t>(batch.target);
    params.mask = data<const float>(batch.mask);
    params.label = data<const float>(batch.label);
    params.batch = batch.target.size(0);
    params.length = batch.target.size(1);
    params.loss = data<float>(batch.loss);

    if (is_adam(params.optimizer)) {
      if (params.optimizer == SkipgramOptimizer::kAdam && params.step > 1 &&
          (params.step - 1) % kMaxPending == 0) {
        sync_tables(tables, state, params.step - 1);
      }
      begin_adam_step(params.adam, state.past(), state.settings, params.step);
    }

    const int64_t slots = batch.target.numel();
    const auto ints = [&](int64_t n) { return new_empty(batch.center, {n}); };
    const Tensor keys_v = ints(params.batch), example = ints(params.batch);
    const Tensor keys_u = ints(slots), slot = ints(slots);
    launch_skipgram_step_keys(params, data<int32_t>(keys_v), data<int32_t>(example),
                              data<int32_t>(keys_u), data<int32_t>(slot), stream());
    const SortedRows v = sort_rows(keys_v, example, params.in.size, stream());
    const SortedRows u = sort_rows(keys_u, slot, params.out.size, stream());
    params.sorted_center = data<const int32_t>(v.rows);
    params.sorted_example = data<const int32_t>(v.occurrences);
    params.sorted_target = data<const int32_t>(u.rows);
    params.sorted_slot = data<const int32_t>(u.occurrences);
    const Tensor rows = new_empty(state.in_table, {2, params.batch, params.stride});
    const Tensor error = new_empty(state.in_table, {slots});
    params.center_row = data<float>(rows);
    params.center_grad = params.center_row + params.batch * params.stride;
    params.error = data<float>(error);
    const Tensor partial =
        new_empty(state.in_table, {run_partials(std::max(params.batch, slots)), params.stride});
    params.partial = data<float>(partial);
    launch_skipgram_step(params, stream());
  }

 private:
  void sync_tables(const SkipgramStepParams& params, const SkipgramStepState& state,
                   int64_t done) const {
    AdamStep adam{};
    describe_pending(adam, state.past(), state.settings, done);
    launch_skipgram_sync(params.in, params.stride, adam, done, stream());
    launch_skipgram_sync(params.out, params.stride, adam, done, stream());
  }
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("skipgram_step_", TORCH_BOX(&lexforge::skipgram_step<lexforge::Cuda>));
  m.impl("skipgram_sync_", TORCH_BOX(&lexforge::skipgram_sync<lexforge::Cuda>));
}
