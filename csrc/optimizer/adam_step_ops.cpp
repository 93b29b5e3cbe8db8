// CPU binding of adam_step.h.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "common/cpu_binding.h"
#include "common/flush_denormals.h"
#include "optimizer/adam_step.h"

namespace lexforge {
namespace {

constexpr int64_t kPartsPerTask = 2;

// Of float32 tensors that are all written to.
void check_apart(const Checks& check, std::initializer_list<const std::vector<Tensor>*> lists) {
  std::vector<std::pair<uintptr_t, uintptr_t>> ranges;
  for (const auto* list : lists) {
    for (const Tensor& each : *list) {
      const auto begin = reinterpret_cast<uintptr_t>(each.data_ptr());
      if (each.numel() > 0) ranges.emplace_back(begin, begin + each.numel() * sizeof(float));
    }
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    check.that(ranges[i - 1].second <= ranges[i].first,
               "parameters, gradients, first, second and steps must not share memory");
  }
}

void adam_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
               const std::vector<Tensor>& first, const std::vector<Tensor>& second,
               const std::vector<Tensor>& steps, const std::vector<double>& decays, double lr,
               double beta1, double beta2, double epsilon, double clip, bool decoupled) {
  const size_t tensors = parameters.size();
  if (tensors == 0) fail("adam_step_: parameters must have at least 1 entry, got 0");
  const Checks check("adam_step_", "parameters", parameters[0]);
  for (const size_t count :
       {gradients.size(), first.size(), second.size(), steps.size(), decays.size()}) {
    check.that(count == tensors, "each list must have ", tensors, " entries, got ", count);
  }
  for (const double beta : {beta1, beta2}) {
    check.that(beta >= 0 && beta < 1, "betas must be in [0, 1), got ", beta);
  }
  check.that(std::isfinite(epsilon) && epsilon >= 0, "epsilon must be finite and >= 0, got ",
             epsilon);
  check.that(clip >= 0, "clip must be >= 0, got ", clip);
  for (size_t i = 0; i < tensors; ++i) {
    const Tensor& parameter = parameters[i];
    check.dtype("parameters", parameter, ScalarType::Float);
    check.device("parameters", parameter);
    check.that(parameter.is_contiguous(), "parameters must be contiguous");
    check.like("parameters", parameter, "gradients", gradients[i]);
    check.like("parameters", parameter, "first", first[i]);
    check.like("parameters", parameter, "second", second[i]);
    check.dtype("steps", steps[i], ScalarType::Float);
    check.device("steps", steps[i]);
    check.that(steps[i].numel() == 1, "steps must have one number, got ", steps[i].numel());
  }
  check_apart(check, {&parameters, &gradients, &first, &second, &steps});
  std::vector<AdamPart> parts;
  for (size_t i = 0; i < tensors; ++i) {
    float& step = *data<float>(steps[i]);
    step += 1;
    const double root = std::sqrt(1 - std::pow(beta2, step));
    AdamPart part{};
    part.keep = static_cast<float>(decoupled ? 1 - lr * decays[i] : 1);
    part.decay = static_cast<float>(decoupled ? 0 : decays[i]);
    part.rate = static_cast<float>(lr * root / (1 - std::pow(beta1, step)));
    part.epsilon = static_cast<float>(epsilon * root);
    const int64_t count = parameters[i].numel();
    for (int64_t begin = 0; begin < count; begin += kAdamPart) {
      part.parameter = data<float>(parameters[i]) + begin;
      part.gradient = data<float>(gradients[i]) + begin;
      part.first = data<float>(first[i]) + begin;
      part.second = data<float>(second[i]) + begin;
      part.count = std::min(kAdamPart, count - begin);
      parts.push_back(part);
    }
  }
  const auto count = static_cast<int64_t>(parts.size());
  AdamFactors factors{1, static_cast<float>(beta1), static_cast<float>(1 - beta1),
                      static_cast<float>(beta2), static_cast<float>(1 - beta2)};
  if (clip > 0) {
    std::vector<float> squares(parts.size());
    auto* kernel = LEXFORGE_CHOOSE(adam_squares);
    parallel_for(0, count, kPartsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) squares[i] = kernel(parts[i].gradient, parts[i].count);
    });
    double sum = 0;
    for (const float each : squares) sum += each;
    const double scale = clip / (std::sqrt(sum) + 1e-6);
    if (!(scale >= 1)) factors.scale = static_cast<float>(scale);  // NaN too
  }
  auto* kernel = LEXFORGE_CHOOSE(adam_step);
  parallel_for(0, count, kPartsPerTask, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    for (int64_t i = begin; i < end; ++i) kernel(parts[i], factors);
  });
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("adam_step_", TORCH_BOX(&lexforge::adam_step));
}
