// The forward pass of one head, a block of queries at a time: the scores of all keys, their
// softmax, dropout, and the sum of the values. A part of attention_cpu_impl.h.
#pragma once

#include "attention/cpu/dropout_impl.h"
#include "attention/cpu/packed_impl.h"
#include "common/exp2_simd.h"

namespace lexforge::LEXFORGE_ISA {

template <typename P>
struct Workspace {
  using scalar = typename P::scalar;
  scalar *staging, *keys, *values, *queries, *scores, *sums;
  int64_t score_row;  // not a multiple of the page size: columns would share cache lines
  uint8_t* bits;
  int64_t bytes;

  Workspace(const HeadShape<P>& head, int64_t length, void* memory) {
    constexpr int64_t kPanel = HeadShape<P>::kPanel;
    char* next = static_cast<char*>(memory);
    score_row = round_up(length, kPanel) + 64 / static_cast<int64_t>(sizeof(scalar));
    staging = take<scalar>(next, HeadShape<P>::W * kMaxHeadDim);
    keys = take<scalar>(next, head.panels(length) * head.panel_size());
    values = take<scalar>(next, head.depth(length) * head.padded);
    queries = take<scalar>(next, kRows * head.row());
    scores = take<scalar>(next, kRows * score_row);
    sums = take<scalar>(next, kRows * head.padded);
    bits = take<uint8_t>(next, round_up(length, kKeys) / 8);
    bytes = next - static_cast<char*>(memory);
  }
};

// exp of scores minus their maximum, in place; the scores beyond `keys` up to `end` become 0.
// Returns the logarithm of the sum over exp(scale * score); `total` is the sum itself.
template <typename P>
LEXFORGE_INLINE typename P::scalar softmax_row(typename P::scalar* score, int64_t keys, int64_t end,
                                               double scale, typename P::scalar& total) {
  using L = typename P::lanes;
  using scalar = typename P::scalar;
  constexpr int64_t W = L::kWidth;
  end = round_up(end, W);
  total = 0;
  if (keys == 0) {
    for (int64_t j = 0; j < end; ++j) score[j] = 0;
    return -__builtin_inf();
  }
  for (int64_t j = keys; j < end; ++j) score[j] = static_cast<scalar>(-__builtin_inf());
  auto largest = L::load_any(score);
  for (int64_t j = W; j < end; j += W) largest = L::max(largest, L::load_any(score + j));
  scalar lane[W];
  L::store_any(lane, largest);
  for (int64_t l = 1; l < W; ++l) lane[0] = lane[0] < lane[l] ? lane[l] : lane[0];
  const scalar shift = lane[0];
  // The difference first: what the product rounds is then small where the probability is not.
  const auto factor = L::broadcast(static_cast<scalar>(scale * kLog2E));
  const auto offset = L::broadcast(shift);
  auto sum = L::zero();
  for (int64_t j = 0; j < end; j += W) {
    const auto p = exp2<L>(L::mul(L::sub(L::load_any(score + j), offset), factor));
    sum = L::add(sum, p);
    L::store_any(score + j, p);
  }
  total = L::sum(sum);
  if constexpr (sizeof(scalar) == sizeof(double)) {
    return static_cast<scalar>(scale) * shift + __builtin_log(total);
  } else {
    return static_cast<scalar>(scale) * shift + __builtin_logf(total);
  }
}

template <typename scalar_t, typename stat_t>
int64_t attention_workspace(int64_t length, int64_t dim) {
  using P = Numbers<scalar_t, stat_t>;
  return Workspace<P>(HeadShape<P>(dim), length, nullptr).bytes;
}

template <typename scalar_t, typename stat_t>
void attention_head(const AttentionParams<scalar_t, stat_t>& params, AttentionTask task,
                    AttentionTask next, void* memory) {
  using P = Numbers<scalar_t, stat_t>;
  using L = typename P::lanes;
  constexpr int64_t W = L::kWidth, kPanel = HeadShape<P>::kPanel;
  const AttentionShape& shape = params.shape;
  const int64_t b = task.sequence, h = task.head;
  const AttentionSpan span = attention_span(shape, b);
  const HeadShape<P> head(shape.dim);
  const Workspace<P> work(head, span.length, memory);
  int64_t keys = 0;  // that any query sees
  for (int64_t i = 0; i < span.length; ++i) {
    const int64_t n = attention_keys(shape, b, i, span.length);
    keys = keys < n ? n : keys;
  }
  const scalar_t* q = head_rows(params.q, shape, task);
  const scalar_t* k = head_rows(params.k, shape, task);
  const scalar_t* v = head_rows(params.v, shape, task);
  scalar_t* out = head_rows(params.out, shape, task);
  Ahead<scalar_t> ahead(shape, next, 3);
  ahead.add(params.k);
  ahead.add(params.v);
  ahead.add(params.q);
  pack_panels<P>(head, k, params.k.token_stride, keys, work.staging, work.keys);
  pack_depth<P>(head, v, params.v.token_stride, keys, work.staging, work.values);

  for (int64_t i0 = 0; i0 < span.length; i0 += kRows) {
    const int64_t rows = lesser(span.length - i0, kRows);
    const RowTiles tiles(rows);
    int64_t row_keys[kRows], tile_keys[kMaxTiles];
    for (int64_t t = 0; t < tiles.count; ++t) {
      tile_keys[t] = 0;
      for (int64_t r = tiles.first(t); r < tiles.first(t + 1); ++r) {
        row_keys[r] = attention_keys(shape, b, i0 + r, span.length);
        tile_keys[t] = tile_keys[t] < row_keys[r] ? row_keys[r] : tile_keys[t];
      }
    }
    pack_rows<P>(head, q + i0 * params.q.token_stride, params.q.token_stride, rows, work.staging,
                 work.queries);
    for (int64_t j0 = 0; j0 < keys; j0 += kPanel) {
      for (int64_t t = 0; t < tiles.count; ++t) {
        if (tile_keys[t] <= j0) continue;
        const int64_t vectors = (tile_keys[t] - j0 + W - 1) / W, r = tiles.first(t);
        tile_of<P>({work.queries + r * head.row(), head.row(), 1,
                    work.keys + j0 / kPanel * head.panel_size(), kPanel,
                    work.scores + r * work.score_row + j0, work.score_row, head.elements, false},
                   tiles.size(t), lesser(vectors, kTileVectors));
        ahead.step();
      }
    }
    stat_t factor[kRows];
    for (int64_t t = 0; t < tiles.count; ++t) {
      for (int64_t r = tiles.first(t); r < tiles.first(t + 1); ++r) {
        auto* score = work.scores + r * work.score_row;
        stat_t total;
        params.lse[(span.first + i0 + r) * shape.heads + h] =
            softmax_row<P>(score, row_keys[r], tile_keys[t], shape.scale, total);
        factor[r] = row_keys[r] > 0 ? 1 / total : 0;
        if (shape.dropout.seed != nullptr) {
          factor[r] *= shape.dropout.scale;
          keep_bits(shape, task, i0 + r, 0, row_keys[r], work.bits);
          for (int64_t j = 0; j < row_keys[r]; j += W) {
            L::store_any(score + j, keep<L>(L::load_any(score + j), work.bits, j));
          }
        }
        P::round_row(score, round_up(tile_keys[t], W));
      }
    }
    for (int64_t j0 = 0; j0 < keys || j0 == 0; j0 += kDepth) {
      for (int64_t d0 = 0; d0 < head.padded; d0 += kPanel) {
        const int64_t vectors = (head.padded - d0) / W;
        for (int64_t t = 0; t < tiles.count; ++t) {
          if (tile_keys[t] <= j0 && j0 > 0) continue;
          const int64_t depth = tile_keys[t] - j0, r = tiles.first(t);
          tile_of<P>({work.scores + r * work.score_row + j0 / P::kPack, work.score_row, 1,
                      work.values + j0 / P::kPack * head.padded + d0, head.padded,
                      work.sums + r * head.padded + d0, head.padded,
                      head.depth(lesser(depth, kDepth)), j0 > 0},
                     tiles.size(t), lesser(vectors, kTileVectors));
          ahead.step();
        }
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      P::write(out + (i0 + r) * params.out.token_stride, work.sums + r * head.padded, factor[r],
               head.dim);
    }
  }
}

}  // namespace lexforge::LEXFORGE_ISA
