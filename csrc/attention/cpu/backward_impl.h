// The backward pass of one head, a block of keys at a time: the probabilities again from lse, the
// errors of the scores, and the three gradients. A part of attention_cpu_impl.h.
#pragma once

#include "attention/cpu/dropout_impl.h"
#include "attention/cpu/packed_impl.h"
#include "common/exp2_simd.h"

namespace lexforge::LEXFORGE_ISA {

template <typename P>
struct BackwardWorkspace {
  using scalar = typename P::scalar;
  static constexpr int64_t kScoreRow = kKeys + 64 / static_cast<int64_t>(sizeof(scalar));
  scalar *staging, *queries, *grads, *delta, *minus_lse, *grad_q;  // of the whole sequence
  scalar *key_panels, *value_panels, *keys, *grad_k, *grad_v;      // of a block of keys
  scalar *probabilities, *errors;                                  // of a block of keys and queries
  // The same for the other direction of a product; they differ where elements are pairs.
  scalar *query_depth, *grad_depth, *error_rows;
  uint8_t* bits;
  int32_t* row_keys;
  int64_t bytes;

  BackwardWorkspace(const HeadShape<P>& head, int64_t length, void* memory) {
    char* next = static_cast<char*>(memory);
    staging = take<scalar>(next, HeadShape<P>::W * kMaxHeadDim);
    queries = take<scalar>(next, length * head.row());
    grads = take<scalar>(next, length * head.row());
    delta = take<scalar>(next, length);
    minus_lse = take<scalar>(next, length);
    grad_q = take<scalar>(next, length * head.padded);
    key_panels = take<scalar>(next, head.panels(kKeys) * head.panel_size());
    value_panels = take<scalar>(next, head.panels(kKeys) * head.panel_size());
    keys = take<scalar>(next, head.depth(kKeys) * head.padded);
    grad_k = take<scalar>(next, kKeys * head.padded);
    grad_v = take<scalar>(next, kKeys * head.padded);
    probabilities = take<scalar>(next, kRows * kScoreRow);
    errors = take<scalar>(next, kRows * kScoreRow);
    query_depth = queries;
    grad_depth = grads;
    error_rows = errors;
    if constexpr (P::kPack > 1) {
      query_depth = take<scalar>(next, head.depth(length) * head.padded);
      grad_depth = take<scalar>(next, head.depth(length) * head.padded);
      error_rows = take<scalar>(next, kRows * kScoreRow);
    }
    bits = take<uint8_t>(next, kKeys / 8);
    row_keys = take<int32_t>(next, length);
    bytes = next - static_cast<char*>(memory);
  }
};

template <typename scalar_t, typename stat_t>
int64_t attention_backward_workspace(int64_t length, int64_t dim) {
  using P = Numbers<scalar_t, stat_t>;
  return BackwardWorkspace<P>(HeadShape<P>(dim), length, nullptr).bytes;
}

template <typename P>
LEXFORGE_INLINE typename P::scalar dot(const typename P::scalar* x, const typename P::scalar* y,
                                       int64_t n) {
  using L = typename P::lanes;
  auto sum = L::zero();
  for (int64_t d = 0; d < n; d += L::kWidth) {
    sum = P::multiply_add(load_row<L>(x + d, n - d), load_row<L>(y + d, n - d), sum);
  }
  return L::sum(sum);
}

template <typename scalar>
struct ErrorRow {
  scalar scale, minus_lse, delta;
  const uint8_t* bits;  // of the entries that dropout keeps; null if all
  scalar kept_scale;
};

// A row's scores become its probabilities, without what is dropped and not yet scaled for it, and
// the products of its gradient with the values become its errors E (attention.h). Entries from
// `keys`, which may be negative, to `end` become 0; `end` is a multiple of the width.
template <typename P>
LEXFORGE_INLINE void error_row(typename P::scalar* p, typename P::scalar* e, int64_t keys,
                               int64_t end, const ErrorRow<typename P::scalar>& row) {
  using L = typename P::lanes;
  using scalar = typename P::scalar;
  const int64_t seen = keys < 0 ? 0 : keys, whole = round_up(seen, L::kWidth);
  for (int64_t j = seen; j < whole; ++j) p[j] = static_cast<scalar>(-__builtin_inf());
  for (int64_t j = whole; j < end; ++j) p[j] = e[j] = 0;
  const auto scale = L::broadcast(row.scale), minus_lse = L::broadcast(row.minus_lse);
  const auto log2e = L::broadcast(static_cast<scalar>(kLog2E));
  const auto delta = L::broadcast(row.delta), kept_scale = L::broadcast(row.kept_scale);
  for (int64_t j = 0; j < whole; j += L::kWidth) {
    auto probability = exp2<L>(L::mul(L::fma(L::load_any(p + j), scale, minus_lse), log2e));
    auto error = L::load_any(e + j);
    if (row.bits != nullptr) error = L::mul(kept_scale, keep<L>(error, row.bits, j));
    L::store_any(e + j, L::mul(probability, L::sub(error, delta)));
    if (row.bits != nullptr) probability = keep<L>(probability, row.bits, j);
    L::store_any(p + j, probability);
  }
}

template <typename scalar_t, typename stat_t>
void attention_backward_head(const AttentionBackwardParams<scalar_t, stat_t>& params,
                             AttentionTask task, AttentionTask next, void* memory) {
  using P = Numbers<scalar_t, stat_t>;
  using L = typename P::lanes;
  constexpr int64_t W = L::kWidth, kPanel = HeadShape<P>::kPanel;
  constexpr int64_t kScoreRow = BackwardWorkspace<P>::kScoreRow;
  const AttentionShape& shape = params.shape;
  const int64_t b = task.sequence, h = task.head;
  const AttentionSpan span = attention_span(shape, b);
  const HeadShape<P> head(shape.dim);
  const BackwardWorkspace<P> work(head, span.length, memory);
  const scalar_t* q = head_rows(params.q, shape, task);
  const scalar_t* k = head_rows(params.k, shape, task);
  const scalar_t* v = head_rows(params.v, shape, task);
  const scalar_t* out = head_rows(params.out, shape, task);
  const scalar_t* grad_out = head_rows(params.grad_out, shape, task);
  scalar_t* grad_q = head_rows(params.grad_q, shape, task);
  scalar_t* grad_k = head_rows(params.grad_k, shape, task);
  scalar_t* grad_v = head_rows(params.grad_v, shape, task);

  Ahead<scalar_t> ahead(shape, next, 5);
  ahead.add(params.q);
  ahead.add(params.grad_out);
  ahead.add(params.out);
  ahead.add(params.k);
  ahead.add(params.v);
  const bool drop = shape.dropout.seed != nullptr;
  const auto kept_scale = static_cast<stat_t>(drop ? shape.dropout.scale : 1.0f);
  pack_rows<P>(head, q, params.q.token_stride, span.length, work.staging, work.queries);
  pack_rows<P>(head, grad_out, params.grad_out.token_stride, span.length, work.staging, work.grads);
  if constexpr (P::kPack > 1) {
    pack_depth<P>(head, q, params.q.token_stride, span.length, work.staging, work.query_depth);
    pack_depth<P>(head, grad_out, params.grad_out.token_stride, span.length, work.staging,
                  work.grad_depth);
  }
  for (int64_t i = 0; i < span.length; ++i) {
    const int64_t n = attention_keys(shape, b, i, span.length);
    work.row_keys[i] = static_cast<int32_t>(n);
    // A row that sees nothing has no finite lse; its scores are all overwritten by -infinity.
    work.minus_lse[i] = n == 0 ? stat_t(0) : -params.lse[(span.first + i) * shape.heads + h];
    const auto* row = P::elements(out + i * params.out.token_stride, head.dim, work.staging);
    work.delta[i] = n == 0 ? stat_t(0) : dot<P>(row, work.grads + i * head.row(), head.elements);
    for (int64_t d = 0; d < head.padded; ++d) work.grad_q[i * head.padded + d] = 0;
  }

  for (int64_t j0 = 0; j0 < span.length; j0 += kKeys) {
    const int64_t keys = lesser(span.length - j0, kKeys);
    pack_panels<P>(head, k + j0 * params.k.token_stride, params.k.token_stride, keys, work.staging,
                   work.key_panels);
    pack_panels<P>(head, v + j0 * params.v.token_stride, params.v.token_stride, keys, work.staging,
                   work.value_panels);
    pack_depth<P>(head, k + j0 * params.k.token_stride, params.k.token_stride, keys, work.staging,
                  work.keys);
    for (int64_t d = 0; d < keys * head.padded; ++d) work.grad_k[d] = work.grad_v[d] = 0;

    for (int64_t i0 = 0; i0 < span.length; i0 += kRows) {
      const int64_t rows = lesser(span.length - i0, kRows);
      const RowTiles tiles(rows);
      int64_t tile_keys[kMaxTiles], seen = 0;
      for (int64_t t = 0; t < tiles.count; ++t) {
        tile_keys[t] = 0;
        for (int64_t r = tiles.first(t); r < tiles.first(t + 1); ++r) {
          const int64_t n = work.row_keys[i0 + r] - j0;
          tile_keys[t] = tile_keys[t] < n ? n : tile_keys[t];
        }
        tile_keys[t] = lesser(tile_keys[t], keys);
        seen = seen < tile_keys[t] ? tile_keys[t] : seen;
      }
      if (seen == 0) continue;
      const auto* queries = work.queries + i0 * head.row();
      const auto* grads = work.grads + i0 * head.row();
      for (int64_t p0 = 0; p0 < seen; p0 += kPanel) {
        for (int64_t t = 0; t < tiles.count; ++t) {
          if (tile_keys[t] <= p0) continue;
          const int64_t r = tiles.first(t), panel = p0 / kPanel * head.panel_size();
          const int64_t vectors = lesser((tile_keys[t] - p0 + W - 1) / W, kTileVectors);
          tile_of<P>({queries + r * head.row(), head.row(), 1, work.key_panels + panel, kPanel,
                      work.probabilities + r * kScoreRow + p0, kScoreRow, head.elements, false},
                     tiles.size(t), vectors);
          ahead.step();
          tile_of<P>({grads + r * head.row(), head.row(), 1, work.value_panels + panel, kPanel,
                      work.errors + r * kScoreRow + p0, kScoreRow, head.elements, false},
                     tiles.size(t), vectors);
          ahead.step();
        }
      }
      const int64_t end = round_up(seen, W);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t i = i0 + r, n = lesser(work.row_keys[i] - j0, end);
        if (drop && n > 0) keep_bits(shape, task, i, j0, n, work.bits);
        error_row<P>(work.probabilities + r * kScoreRow, work.errors + r * kScoreRow, n, end,
                     {static_cast<stat_t>(shape.scale), work.minus_lse[i], work.delta[i],
                      drop ? work.bits : nullptr, kept_scale});
      }
      if constexpr (P::kPack > 1) {
        for (int64_t r = 0; r < rows; ++r) {
          P::round_row(work.errors + r * kScoreRow, work.error_rows + r * kScoreRow, end);
        }
        for (int64_t r = 0; r < rows; r += 2) {
          stat_t* p = work.probabilities + r * kScoreRow;
          stat_t* e = work.errors + r * kScoreRow;
          P::round_rows(p, r + 1 < rows ? p + kScoreRow : nullptr, end);
          P::round_rows(e, r + 1 < rows ? e + kScoreRow : nullptr, end);
        }
      }
      const int64_t depth = head.depth(rows), step = P::kPack * kScoreRow;
      const auto* query_depth = work.query_depth + head.depth(i0) * head.padded;
      const auto* grad_depth = work.grad_depth + head.depth(i0) * head.padded;
      const RowTiles key_tiles(seen);
      for (int64_t d0 = 0; d0 < head.padded; d0 += kPanel) {
        const int64_t vectors = lesser((head.padded - d0) / W, kTileVectors);
        for (int64_t t = 0; t < key_tiles.count; ++t) {
          const int64_t j = key_tiles.first(t);
          tile_of<P>({work.probabilities + j, 1, step, grad_depth + d0, head.padded,
                      work.grad_v + j * head.padded + d0, head.padded, depth, true},
                     key_tiles.size(t), vectors);
          ahead.step();
        }
        for (int64_t t = 0; t < key_tiles.count; ++t) {
          const int64_t j = key_tiles.first(t);
          tile_of<P>({work.errors + j, 1, step, query_depth + d0, head.padded,
                      work.grad_k + j * head.padded + d0, head.padded, depth, true},
                     key_tiles.size(t), vectors);
          ahead.step();
        }
        for (int64_t t = 0; t < tiles.count; ++t) {
          if (tile_keys[t] == 0) continue;
          const int64_t r = tiles.first(t);
          tile_of<P>({work.error_rows + r * kScoreRow, kScoreRow, 1, work.keys + d0, head.padded,
                      work.grad_q + (i0 + r) * head.padded + d0, head.padded,
                      head.depth(tile_keys[t]), true},
                     tiles.size(t), vectors);
          ahead.step();
        }
      }
    }
    for (int64_t j = 0; j < keys; ++j) {
      P::write(grad_k + (j0 + j) * params.grad_k.token_stride, work.grad_k + j * head.padded,
               static_cast<stat_t>(shape.scale), head.dim);
      P::write(grad_v + (j0 + j) * params.grad_v.token_stride, work.grad_v + j * head.padded,
               kept_scale, head.dim);
    }
  }
  for (int64_t i = 0; i < span.length; ++i) {
    P::write(grad_q + i * params.grad_q.token_stride, work.grad_q + i * head.padded,
             static_cast<stat_t>(shape.scale), head.dim);
  }
}

}  // namespace lexforge::LEXFORGE_ISA
