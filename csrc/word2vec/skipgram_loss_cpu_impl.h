// CPU kernels of skipgram_loss.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/word2vec/skipgram_loss.py.
#include "common/simd.h"
#include "word2vec/skipgram_loss.h"
#include "word2vec/skipgram_rows_impl.h"

namespace lexforge::LEXFORGE_ISA {

template <typename scalar_t>
void skipgram_loss(const SkipgramLossParams<scalar_t>& params, int64_t first_example,
                   int64_t last) {
  using L = typename LanesOf<scalar_t>::type;
  const int64_t length = params.length, dim = params.dim;
  for (int64_t b = first_example; b < last; ++b) {
    const scalar_t* v = params.embed_v + params.center[b] * dim;
    const int32_t* target = params.target + b * length;
    const scalar_t* mask = params.mask + b * length;
    const scalar_t* label = params.label + b * length;
    scalar_t* error = params.error + b * length;

    scalar_t total = 0;
    for (int64_t l = 0; l < length; ++l) total += mask[l];
    const scalar_t scale = total > 0 ? 1 / total : scalar_t(0);

    auto loss = L::zero();
    int64_t slot[kChunk];
    scalar_t scores[kChunk], weights[kChunk], labels[kChunk], errors[kChunk];
    for (int64_t l = 0; l < length;) {
      int64_t used = 0;  // the next slots that the mask lets through
      for (; l < length && used < kChunk; ++l) {
        error[l] = 0;
        if (mask[l] == 0) continue;
        slot[used] = l;
        weights[used] = mask[l] * scale;
        labels[used] = label[l];
        ++used;
      }
      dot_rows<L>(
          v, dim, used, [&](int64_t i) { return params.embed_u + target[slot[i]] * dim; }, scores);
      cross_entropy<L>(scores, weights, labels, used, errors, loss);
      for (int64_t i = 0; i < used; ++i) error[slot[i]] = errors[i];
    }
    params.loss[b] = L::sum(loss);
  }
}

template <typename scalar_t>
void skipgram_loss_grad_v(const SkipgramLossBackwardParams<scalar_t>& params, int64_t first_group,
                          int64_t last) {
  using L = typename LanesOf<scalar_t>::type;
  const int64_t length = params.length, dim = params.dim;
  const RowGroups& groups = params.center_groups;
  for (int64_t g = first_group; g < last; ++g) {
    scalar_t* out = params.grad_v + (params.compact ? g : groups.rows[g]) * dim;
    for (int64_t d = 0; d < dim; ++d) out[d] = 0;
    for (int32_t m = groups.begin[g]; m < groups.begin[g + 1]; ++m) {
      const int64_t b = groups.members[m];
      const int32_t* target = params.target + b * length;
      const scalar_t* error = params.error + b * length;
      const auto scale = L::broadcast(params.grad_loss[b]);
      // Whole rows of padding at the end cost nothing.
      int64_t used = length;
      while (used > 0 && error[used - 1] == 0) --used;
      weighted_rows<L>(
          dim, used, [&](int64_t l) { return params.embed_u + target[l] * dim; },
          [&](int64_t l) { return error[l]; },
          [&](int64_t d, int64_t n, typename L::reg sum) {
            L::store_first(out + d, L::fma(scale, sum, L::load_first(out + d, n)), n);
          });
    }
  }
}

template <typename scalar_t>
void skipgram_loss_grad_u(const SkipgramLossBackwardParams<scalar_t>& params, int64_t first_group,
                          int64_t last) {
  using L = typename LanesOf<scalar_t>::type;
  const int64_t length = params.length, dim = params.dim;
  const RowGroups& groups = params.target_groups;
  for (int64_t g = first_group; g < last; ++g) {
    scalar_t* out = params.grad_u + (params.compact ? g : groups.rows[g]) * dim;
    const int32_t* slot = groups.members + groups.begin[g];
    weighted_rows<L>(
        dim, groups.begin[g + 1] - groups.begin[g],
        [&](int64_t i) { return params.embed_v + params.center[slot[i] / length] * dim; },
        [&](int64_t i) { return params.error[slot[i]] * params.grad_loss[slot[i] / length]; },
        [&](int64_t d, int64_t n, typename L::reg sum) { L::store_first(out + d, sum, n); });
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                                     \
  template void skipgram_loss(const SkipgramLossParams<scalar_t>&, int64_t, int64_t);      \
  template void skipgram_loss_grad_v(const SkipgramLossBackwardParams<scalar_t>&, int64_t, \
                                     int64_t);                                             \
  template void skipgram_loss_grad_u(const SkipgramLossBackwardParams<scalar_t>&, int64_t, int64_t);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
