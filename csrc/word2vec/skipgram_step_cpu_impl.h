// CPU kernels of skipgram_step.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/word2vec/skipgram_loss.py, whose gradient the steps apply.
#include "word2vec/skipgram_step.h"
// The instruction set applies from here on.
#include "common/simd.h"
// Needs simd.h.
#include "word2vec/skipgram_rows_impl.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

using L = FloatLanes;
using reg = L::reg;
constexpr int64_t kAhead = 2;  // rows between a prefetch and its use

LEXFORGE_INLINE int64_t pending_steps(const SkipgramTable& table, int64_t row, int64_t next_step) {
  const int64_t steps = next_step - 1 - table.last[row];
  return steps < 0 ? 0 : steps > kMaxPending ? kMaxPending : steps;
}

// Whether the closed form of the pending steps is exact to rounding in all elements of the row.
LEXFORGE_INLINE bool closed_form(const float* m, const float* v, int64_t stride, float limit) {
  const reg least = L::broadcast(limit);
  reg beyond = L::zero();
  for (int64_t d = 0; d < stride; d += L::kWidth) {
    beyond = L::add(beyond, L::select_negative(L::sub(L::load(v + d), least),
                                               Numerics<L>::absolute(L::load(m + d)), L::zero()));
  }
  return L::sum(beyond) == 0;
}

// The row after its k pending steps of dense Adam; its moments are left as they are.
void apply_pending(const float* row, const float* moments, int64_t stride, const AdamStep& adam,
                   int64_t k, float* result) {
  const float *m = moments, *v = moments + stride;
  if (closed_form(m, v, stride, adam.pending_limit[k])) {
    const reg size = L::broadcast(adam.pending_size[k]);
    const reg epsilon = L::broadcast(adam.pending_epsilon[k]);
    for (int64_t d = 0; d < stride; d += L::kWidth) {
      const reg change = over_root<L>(L::load(m + d), L::load(v + d), epsilon);
      L::store(result + d, L::fnma(size, change, L::load(row + d)));
    }
    return;
  }
  const reg beta1 = L::broadcast(adam.decay1[1]), beta2 = L::broadcast(adam.decay2[1]);
  for (int64_t d = 0; d < stride; d += L::kWidth) {
    reg p = L::load(row + d), first = L::load(m + d), second = L::load(v + d);
    for (int64_t ago = k - 1; ago >= 0; --ago) {
      first = L::mul(first, beta1);
      second = L::mul(second, beta2);
      const reg change = over_root<L>(first, second, L::broadcast(adam.past_epsilon[ago]));
      p = L::fnma(L::broadcast(adam.past_size[ago]), change, p);
    }
    L::store(result + d, p);
  }
}

// The optimisers: each turns one register of a row's gradient into the update of its parameters,
// p (given) at `row` and the moments.
struct Sgd {
  reg lr;
  Sgd(const SkipgramStepParams& params, const SkipgramTable&, int64_t)
      : lr(L::broadcast(params.lr)) {}
  LEXFORGE_INLINE reg update(int64_t, reg p, reg g) const { return L::fnma(lr, g, p); }
};

struct Adagrad {
  float* sums;
  reg lr, epsilon;
  Adagrad(const SkipgramStepParams& params, const SkipgramTable& table, int64_t row)
      : sums(table.moments + row * params.stride),
        lr(L::broadcast(params.lr)),
        epsilon(L::broadcast(params.epsilon)) {}
  LEXFORGE_INLINE reg update(int64_t d, reg p, reg g) const {
    const reg sum = L::fma(g, g, L::load(sums + d));
    L::store(sums + d, sum);
    return L::fnma(lr, over_root<L>(g, sum, epsilon), p);
  }
};

// kDense: the moments have pending decay, which multiplies into this step's.
template <bool kDense>
struct Adam {
  float *m, *v;
  reg decay1, decay2, fresh1, fresh2, size, epsilon;
  Adam(const SkipgramStepParams& params, const SkipgramTable& table, int64_t row)
      : m(table.moments + row * 2 * params.stride), v(m + params.stride) {
    const AdamStep& adam = *params.adam;
    const int64_t steps = kDense ? pending_steps(table, row, params.step) + 1 : 1;
    decay1 = L::broadcast(adam.decay1[steps]);
    decay2 = L::broadcast(adam.decay2[steps]);
    fresh1 = L::broadcast(adam.fresh1);
    fresh2 = L::broadcast(adam.fresh2);
    size = L::broadcast(adam.step_size);
    epsilon = L::broadcast(adam.epsilon);
    if (kDense) table.last[row] = static_cast<int32_t>(params.step);
  }
  LEXFORGE_INLINE reg update(int64_t d, reg p, reg g) const {
    const reg first = L::fma(fresh1, g, L::mul(decay1, L::load(m + d)));
    const reg second = L::fma(L::mul(fresh2, g), g, L::mul(decay2, L::load(v + d)));
    L::store(m + d, first);
    L::store(v + d, second);
    return L::fnma(size, over_root<L>(first, second, epsilon), p);
  }
};

// Moments per row, in rows.
constexpr int64_t moment_rows(SkipgramOptimizer optimizer) {
  return optimizer == SkipgramOptimizer::kSgd       ? 0
         : optimizer == SkipgramOptimizer::kAdagrad ? 1
                                                    : 2;
}

LEXFORGE_INLINE void prefetch_state(const SkipgramStepParams& params, const SkipgramTable& table,
                                    int64_t row) {
  const int64_t floats = params.stride * moment_rows(params.optimizer);
  prefetch_row(table.rows + row * params.stride, params.stride);
  if (floats > 0) prefetch_row(table.moments + row * floats, floats);
}

template <typename Optimizer>
LEXFORGE_INLINE void update_out(const SkipgramStepParams& params, int64_t first, int64_t last) {
  const RowGroups& groups = params.batch.targets;
  const int64_t stride = params.stride;
  for (int64_t g = first; g < last; ++g) {
    if (g + kAhead < last) prefetch_state(params, params.out, groups.rows[g + kAhead]);
    float* row = params.out.rows + groups.rows[g] * stride;
    const Optimizer optimizer(params, params.out, groups.rows[g]);
    const int32_t* slot = groups.members + groups.begin[g];
    weighted_rows<L>(
        stride, groups.begin[g + 1] - groups.begin[g],
        [&](int64_t i) { return params.center_row + params.batch.example[slot[i]] * stride; },
        [&](int64_t i) { return params.error[slot[i]]; },
        [&](int64_t d, int64_t, reg sum) {
          L::store(row + d, optimizer.update(d, L::load(row + d), sum));
        });
  }
}

template <typename Optimizer>
LEXFORGE_INLINE void update_in(const SkipgramStepParams& params, int64_t first, int64_t last) {
  const RowGroups& groups = params.batch.centers;
  const int64_t stride = params.stride;
  for (int64_t g = first; g < last; ++g) {
    if (g + kAhead < last) prefetch_state(params, params.in, groups.rows[g + kAhead]);
    float* row = params.in.rows + groups.rows[g] * stride;
    const Optimizer optimizer(params, params.in, groups.rows[g]);
    const int32_t* example = groups.members + groups.begin[g];
    const float* current = params.center_row + *example * stride;
    weighted_rows<L>(
        stride, groups.begin[g + 1] - groups.begin[g],
        [&](int64_t i) { return params.center_grad + example[i] * stride; },
        [](int64_t) { return 1.0f; },
        [&](int64_t d, int64_t, reg sum) {
          L::store(row + d, optimizer.update(d, L::load(current + d), sum));
        });
  }
}

}  // namespace

void skipgram_step_refresh(const SkipgramStepParams& params, int64_t first, int64_t last) {
  const RowGroups& groups = params.batch.targets;
  const int64_t stride = params.stride;
  for (int64_t g = first; g < last; ++g) {
    if (g + kAhead < last && pending_steps(params.out, groups.rows[g + kAhead], params.step) > 0) {
      prefetch_state(params, params.out, groups.rows[g + kAhead]);
    }
    const int64_t row = groups.rows[g];
    const int64_t k = pending_steps(params.out, row, params.step);
    if (k == 0) continue;
    float* p = params.out.rows + row * stride;
    apply_pending(p, params.out.moments + row * 2 * stride, stride, *params.adam, k, p);
  }
}

void skipgram_step_examples(const SkipgramStepParams& params, int64_t first, int64_t last) {
  const SkipgramMinibatch& batch = params.batch;
  const int64_t stride = params.stride;
  const auto target_row = [&](int64_t slot) {
    return params.out.rows + batch.target[slot] * stride;
  };
  for (int64_t b = first; b < last; ++b) {
    if (b + 1 < last) {
      for (int64_t slot = batch.begin[b + 1]; slot < batch.begin[b + 2]; ++slot) {
        prefetch_row(target_row(slot), stride);
      }
    }
    const int64_t center = batch.center[b];
    const float* v = params.in.rows + center * stride;
    float* current = params.center_row + b * stride;
    const int64_t pending = params.optimizer == SkipgramOptimizer::kAdam
                                ? pending_steps(params.in, center, params.step)
                                : 0;
    if (pending > 0) {
      apply_pending(v, params.in.moments + center * 2 * stride, stride, *params.adam, pending,
                    current);
    } else {
      for (int64_t d = 0; d < stride; d += L::kWidth) L::store(current + d, L::load(v + d));
    }

    const int64_t begin = batch.begin[b], end = batch.begin[b + 1];
    reg loss = L::zero();
    for (int64_t slot = begin; slot < end; slot += kChunk) {
      const int64_t count = end - slot < kChunk ? end - slot : kChunk;
      float scores[kChunk];
      dot_rows<L>(current, stride, count, [&](int64_t i) { return target_row(slot + i); }, scores);
      cross_entropy<L>(scores, batch.weight + slot, batch.label + slot, count, params.error + slot,
                       loss);
    }
    params.loss[b] = L::sum(loss);
    float* grad = params.center_grad + b * stride;
    weighted_rows<L>(
        stride, end - begin, [&](int64_t i) { return target_row(begin + i); },
        [&](int64_t i) { return params.error[begin + i]; },
        [&](int64_t d, int64_t, reg sum) { L::store(grad + d, sum); });
  }
}

void skipgram_step_update_out(const SkipgramStepParams& params, int64_t first, int64_t last) {
  switch (params.optimizer) {
    case SkipgramOptimizer::kSgd:
      return update_out<Sgd>(params, first, last);
    case SkipgramOptimizer::kAdagrad:
      return update_out<Adagrad>(params, first, last);
    case SkipgramOptimizer::kAdam:
      return update_out<Adam<true>>(params, first, last);
    case SkipgramOptimizer::kLazyAdam:
      return update_out<Adam<false>>(params, first, last);
  }
}

void skipgram_step_update_in(const SkipgramStepParams& params, int64_t first, int64_t last) {
  switch (params.optimizer) {
    case SkipgramOptimizer::kSgd:
      return update_in<Sgd>(params, first, last);
    case SkipgramOptimizer::kAdagrad:
      return update_in<Adagrad>(params, first, last);
    case SkipgramOptimizer::kAdam:
      return update_in<Adam<true>>(params, first, last);
    case SkipgramOptimizer::kLazyAdam:
      return update_in<Adam<false>>(params, first, last);
  }
}

void skipgram_sync(const SkipgramTable& table, int64_t stride, const AdamStep& adam, int64_t step,
                   int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const int64_t k = pending_steps(table, row, step + 1);
    if (k == 0) continue;
    float* p = table.rows + row * stride;
    float* m = table.moments + row * 2 * stride;
    apply_pending(p, m, stride, adam, k, p);
    const reg decay1 = L::broadcast(adam.decay1[k]), decay2 = L::broadcast(adam.decay2[k]);
    for (int64_t d = 0; d < stride; d += L::kWidth) {
      L::store(m + d, L::mul(decay1, L::load(m + d)));
      L::store(m + stride + d, L::mul(decay2, L::load(m + stride + d)));
    }
    table.last[row] = static_cast<int32_t>(step);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
