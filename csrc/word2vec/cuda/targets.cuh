// Lists of a window's targets, and the training of those that all its inputs have in common.
#pragma once

#include "word2vec/cuda/rows.cuh"
#include "word2vec/cuda/windows.cuh"

namespace lexforge::word2vec {

// Appends this lane's row, -1 for none, to a list of `size` entries, each row of the warp once with
// number(its lanes) and `first` as its value; an entry from `from` on that has the row gets the
// number alone. Returns the new size.
template <typename Listed, typename Number>
__device__ __forceinline__ int32_t add_distinct(Listed* list, int32_t from, int32_t size,
                                                int32_t row, int lane, Number number,
                                                decltype(Listed::value) first = 0) {
  const unsigned same = __match_any_sync(kAllLanes, row);
  bool fresh = row >= 0 && (same & ((1u << lane) - 1)) == 0;
  for (int32_t s = from; s < size; ++s) {
    if (fresh && list[s].row == row) {
      list[s].value += number(same);
      fresh = false;
    }
  }
  const unsigned added = __ballot_sync(kAllLanes, fresh);
  if (fresh) list[size + __popc(added & ((1u << lane) - 1))] = {row, number(same) + first};
  __syncwarp();
  return size + __popc(added);
}

// Appends the rows that `row_at` gives for 0 .. count - 1 to a list of `size` entries, none of
// which has one of them: each row once with its number times `sign`; -1 is left out. Returns the
// new size.
template <typename RowAt>
__device__ __forceinline__ int32_t list_distinct(Entry* list, int32_t size, int32_t count,
                                                 float sign, int lane, RowAt row_at) {
  const int32_t from = size;
  for (int32_t base = 0; base < count; base += kWarp) {
    const int32_t row = base + lane < count ? row_at(base + lane) : -1;
    size = add_distinct(list, from, size, row, lane,
                        [&](unsigned same) { return sign * static_cast<float>(__popc(same)); });
  }
  return size;
}

// In a list of targets the sign of an entry's value tells the label, 1 for positive ones, and the
// size how often it is a target.

// Lists the inner nodes on the centre's path. Returns their number, or -1 where the path is not one
// that word2vec_train.h allows.
__device__ __forceinline__ int32_t list_path(const Window& window, Entry* list, int lane) {
  const Word2vecTrainParams<float>& params = window.params;
  if (params.tree_table == nullptr) return 0;
  const int64_t begin = params.path_offsets[window.center];
  const int64_t end = params.path_offsets[window.center + 1];
  if (begin < 0 || end < begin || end > params.path_count || end - begin > params.longest_path) {
    return -1;
  }
  const auto count = static_cast<int32_t>(end - begin);
  bool bad = false;
  for (int32_t n = lane; n < count; n += kWarp) {
    const int32_t code = params.paths[begin + n];
    bad |= code < 0 || code / 2 >= params.vocab_size - 1;
    list[n] = {code / 2, code % 2 != 0 ? -1.0f : 1.0f};
  }
  return __any_sync(kAllLanes, bad) ? -1 : count;
}

// Lists the centre and the window's noise words. Returns their number.
__device__ __forceinline__ int32_t list_noise(const Window& window, Entry* list, int lane) {
  if (window.params.out_table == nullptr) return 0;
  if (lane == 0) list[0] = {window.center, 1.0f};
  return list_distinct(list, 1, window.params.negatives, -1.0f, lane,
                       [&](int32_t k) { return window.noise(k); });
}

// How much of the change of node n of a path is made.
__device__ __forceinline__ float share_of_node(float root_share, int32_t n) {
  return fminf(root_share * __int_as_float((127 + n) << 23), 1.0f);
}

// Where the lists of a window are, and the rows and errors that do not fit into registers.
struct Lists {
  Entry* target;
  Entry* context;
  float4* kept_rows;
  float* kept_error;
  int32_t most_targets;
  float root_share;
  bool counts;  // the contexts; or another kernel does
};

// All errors of a window come from the rows before it, so equal rows have equal errors: each row is
// read once, trained with its number of occurrences as a weight, and written once. The first
// `nodes` targets are rows of the tree's table. Returns the lane's share of the loss.
//
// Up to kRows targets of one table stay in registers with their changes; a context is read while
// the one before is trained. With more than that, tiles of them take turns at the contexts; their
// rows and errors are kept in shared memory, and the contexts change when all errors are known.
template <int kPacks, int kRows, bool kRounds>
__device__ __forceinline__ float train_in_common(const Window& window, const Lists& lists,
                                                 const Tables<kPacks, kRounds>& tables,
                                                 int32_t nodes, int32_t targets, int lane) {
  // This lane's target in a tile, beyond all where it has none.
  const int sum = warp_sums_index<kRows>(lane), of_tile = sum < kRows ? sum : INT32_MAX;
  constexpr float kShare = 1.0f / warp_sums_copies<kRows>();
  const uint32_t row_packs = tables.in.stride;
  const Entry* target = lists.target;
  Entry* context = lists.context;
  const int32_t contexts = list_distinct(context, 0, window.contexts, 1.0f, lane,
                                         [&](int32_t j) { return window.context(j); });
  __syncwarp();
  if (kRounds && lists.counts) {
    for (int32_t j = lane; j < contexts; j += kWarp)
      tables.in.count(context[j].row, context[j].value);
  }
  const bool one_tile = targets <= kRows && (nodes == 0 || nodes == targets);
  float loss = 0.0f;
  int32_t here = 0;
#pragma unroll 1
  for (int32_t tile = 0; tile < targets; tile += here) {
    const bool of_tree = tile < nodes;
    const Table<kPacks, kRounds> table = of_tree ? tables.tree : tables.out;
    here = min((of_tree ? nodes : targets) - tile, kRows);
    const float value = of_tile < here ? target[tile + of_tile].value : 0.0f;
    const float weight = fabsf(value);
    const bool positive = value > 0.0f;
    if (kRounds && of_tile < here && lane % warp_sums_copies<kRows>() == 0) {
      table.count(target[tile + of_tile].row, weight);
    }
    Row<kPacks> rows[kRows], change[kRows], v;
    tables.in.load(v, context[0].row);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      table.load(rows[r], r < here ? target[tile + r].row : -1);
      zero_row(change[r]);
    }
    if (!one_tile) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int p = 0; p < kPacks; ++p) {
          if (r < here && table.used(p)) {
            lists.kept_rows[(tile + r) * row_packs + table.column(p)] = rows[r].pack[p];
          }
        }
      }
    }
#pragma unroll 1
    for (int32_t j = 0; j < contexts; ++j) {
      Row<kPacks> next;
      tables.in.load(next, j + 1 < contexts ? context[j + 1].row : -1);
      const Entry input = context[j];
      float parts[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) parts[r] = dot_part(v, rows[r]);
      const float x = warp_sums(parts, lane);
      const float count = weight * input.value;
      const float error = window.lr * count * logistic(x, positive, count, loss);
      Row<kPacks> gradient;
      zero_row(gradient);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float each = __shfl_sync(kAllLanes, error, warp_sums_lane<kRows>(r));
        accumulate(gradient, each, rows[r]);
        accumulate(change[r], each, v);
      }
      if (one_tile) {
        tables.add_in(input.row, gradient);
      } else if (of_tile < here && lane % warp_sums_copies<kRows>() == 0) {
        lists.kept_error[j * lists.most_targets + tile + of_tile] = error;
      }
      v = next;
    }
    if (!kRounds && of_tree && lists.root_share < 1.0f) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        scale_row(change[r], share_of_node(lists.root_share, tile + r));
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      table.add(r < here ? target[tile + r].row : -1, change[r]);
    }
  }
  if (!one_tile) {
    __syncwarp();
#pragma unroll 1
    for (int32_t j = 0; j < contexts; ++j) {
      Row<kPacks> gradient;
      zero_row(gradient);
#pragma unroll 2
      for (int32_t t = 0; t < targets; ++t) {
        const float error = lists.kept_error[j * lists.most_targets + t];
#pragma unroll
        for (int p = 0; p < kPacks; ++p) {
          if (tables.in.used(p)) {
            gradient.pack[p] =
                fma4(error, lists.kept_rows[t * row_packs + tables.in.column(p)], gradient.pack[p]);
          }
        }
      }
      tables.add_in(context[j].row, gradient);
    }
  }
  return loss * kShare;
}

}  // namespace lexforge::word2vec
