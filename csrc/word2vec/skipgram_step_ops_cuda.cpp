// CUDA binding of skipgram_step.h. Row numbers are checked by the Python wrapper; `history` is a
// tensor on the CPU.
#include <string>

#include "common/cuda_binding.h"
#include "word2vec/skipgram_loss.h"
#include "word2vec/skipgram_step_binding.h"

namespace lexforge {
namespace {

void sync_tables(const SkipgramStepParams& params, const AdamSettings& settings, double* history,
                 int64_t done, AdamStep* on_device, void* stream) {
  AdamStep adam{};
  describe_pending(adam, history, settings, done);
  skipgram_copy_adam_step(adam, on_device, stream);
  launch_skipgram_sync(params.in, params.stride, on_device, done, stream);
  launch_skipgram_sync(params.out, params.stride, on_device, done, stream);
}

Tensor device_adam(const Tensor& like) {
  return torch::stable::new_empty(like, {static_cast<int64_t>(sizeof(AdamStep))}, ScalarType::Byte);
}

struct Sorted {
  Tensor keys, values;
};

Sorted sort_rows(const Tensor& keys, const Tensor& values, int64_t rows, void* stream) {
  const int64_t n = keys.numel();
  Sorted sorted{torch::stable::new_empty(keys, {n}), torch::stable::new_empty(keys, {n})};
  if (n == 0) return sorted;
  const auto sort = [&](void* storage, size_t bytes) {
    return sort_by_row(storage, bytes, data<int32_t>(keys), data<int32_t>(sorted.keys),
                       data<int32_t>(values), data<int32_t>(sorted.values), n, rows, stream);
  };
  const size_t bytes = sort(nullptr, 0);
  Tensor storage = torch::stable::new_empty(keys, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  sort(storage.data_ptr(), bytes);
  return sorted;
}

void skipgram_step(Tensor& in_table, Tensor& out_table, Tensor& in_moments, Tensor& out_moments,
                   Tensor& in_last, Tensor& out_last, Tensor& history, Tensor&, Tensor& loss,
                   const Tensor& center, const Tensor& target, const Tensor& mask,
                   const Tensor& label, std::string optimizer, int64_t step, double lr,
                   double beta1, double beta2, double eps) {
  const char* op = "skipgram_step_";
  const AdamSettings settings{parse_optimizer(op, optimizer), lr, beta1, beta2, eps};
  const SkipgramStepParams tables = step_params(op, in_table, out_table, in_moments, out_moments,
                                                in_last, out_last, settings, step);
  double* past = step_history(op, history);
  check_step_batch(op, in_table, center, target, mask, label, loss);
  const CudaCall call(in_table);
  void* stream = call.stream();

  SkipgramStepCudaParams params{};
  params.in = tables.in;
  params.out = tables.out;
  params.stride = tables.stride;
  params.optimizer = tables.optimizer;
  params.lr = tables.lr;
  params.epsilon = tables.epsilon;
  params.step = step;
  params.center = data<const int32_t>(center);
  params.target = data<const int32_t>(target);
  params.mask = data<const float>(mask);
  params.label = data<const float>(label);
  params.batch = target.size(0);
  params.length = target.size(1);
  params.loss = data<float>(loss);

  Tensor adam_tensor = device_adam(in_table);
  auto* on_device = static_cast<AdamStep*>(adam_tensor.data_ptr());
  if (is_adam(settings.optimizer)) {
    if (settings.optimizer == SkipgramOptimizer::kAdam && step > 1 &&
        (step - 1) % kMaxPending == 0) {
      sync_tables(tables, settings, past, step - 1, on_device, stream);
    }
    AdamStep adam{};
    begin_adam_step(adam, past, settings, step);
    skipgram_copy_adam_step(adam, on_device, stream);
    params.adam = on_device;
  }

  const int64_t slots = target.numel();
  Tensor keys_v = torch::stable::new_empty(center, {params.batch});
  Tensor example = torch::stable::new_empty(center, {params.batch});
  Tensor keys_u = torch::stable::new_empty(center, {slots});
  Tensor slot = torch::stable::new_empty(center, {slots});
  launch_skipgram_step_keys(params, data<int32_t>(keys_v), data<int32_t>(example),
                            data<int32_t>(keys_u), data<int32_t>(slot), stream);
  const Sorted v = sort_rows(keys_v, example, params.in.size, stream);
  const Sorted u = sort_rows(keys_u, slot, params.out.size, stream);
  params.sorted_center = data<const int32_t>(v.keys);
  params.sorted_example = data<const int32_t>(v.values);
  params.sorted_target = data<const int32_t>(u.keys);
  params.sorted_slot = data<const int32_t>(u.values);
  Tensor rows = torch::stable::new_empty(in_table, {2, params.batch, params.stride});
  Tensor error = torch::stable::new_empty(in_table, {slots});
  params.center_row = data<float>(rows);
  params.center_grad = params.center_row + params.batch * params.stride;
  params.error = data<float>(error);
  launch_skipgram_step(params, stream);
}

void skipgram_sync(Tensor& in_table, Tensor& out_table, Tensor& in_moments, Tensor& out_moments,
                   Tensor& in_last, Tensor& out_last, Tensor& history, std::string optimizer,
                   int64_t step, double lr, double beta1, double beta2, double eps) {
  const char* op = "skipgram_sync_";
  const AdamSettings settings{parse_optimizer(op, optimizer), lr, beta1, beta2, eps};
  const SkipgramStepParams tables = step_params(op, in_table, out_table, in_moments, out_moments,
                                                in_last, out_last, settings, step);
  double* past = step_history(op, history);
  if (settings.optimizer != SkipgramOptimizer::kAdam) return;
  const CudaCall call(in_table);
  Tensor adam = device_adam(in_table);
  sync_tables(tables, settings, past, step, static_cast<AdamStep*>(adam.data_ptr()), call.stream());
}

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("skipgram_step_", TORCH_BOX(&lexforge::skipgram_step));
  m.impl("skipgram_sync_", TORCH_BOX(&lexforge::skipgram_sync));
}
