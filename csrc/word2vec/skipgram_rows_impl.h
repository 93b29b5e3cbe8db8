// What the skip-gram minibatch kernels share. Included by kernel bodies after common/simd.h.
#pragma once

#include "common/row_lanes.h"

namespace lexforge::LEXFORGE_ISA {

// The binary cross-entropy of `count` scores: adds to the loss, and writes its derivatives.
//   loss_sum += weight * (log(1 + exp(x)) - label * x);  error = weight * (sigmoid(x) - label)
template <typename L>
LEXFORGE_INLINE void cross_entropy(const typename L::scalar* scores,
                                   const typename L::scalar* weight,
                                   const typename L::scalar* label, int64_t count,
                                   typename L::scalar* error, typename L::reg& loss_sum) {
  for (int64_t i = 0; i < count; i += L::kWidth) {
    const auto x = L::load_first(scores + i, count - i);
    const auto w = L::load_first(weight + i, count - i);
    const auto y = L::load_first(label + i, count - i);
    typename L::reg log_sigmoid;
    const auto sigmoid = Numerics<L>::sigmoid_log(x, log_sigmoid);
    const auto one = L::broadcast(typename L::scalar(1));
    loss_sum = L::fma(w, L::fma(L::sub(one, y), x, L::sub(L::zero(), log_sigmoid)), loss_sum);
    L::store_first(error + i, L::mul(w, L::sub(sigmoid, y)), count - i);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
