// An optimiser's step on a table with a sparse gradient, in place: the gradient's rows are summed
// and applied to the rows of the table and of the optimiser's state in one pass. The contract of
// lexforge::row_update_.
//
// Row ids[i] of the table [V, D] gets gradients[i]; a row may occur any number of times. With p a
// row of the table, and
//
//   g = sum over i with ids[i] = r of gradients[i]  +  weight_decay p,
//
// every element of a row that makes the step goes through
//
//   sgd              p -= lr g
//   momentum         m = decay1 m + fresh1 g;  p -= lr m
//   nesterov         m = decay1 m + fresh1 g;  p -= lr (g + decay1 m)       Sutskever et al. 2013
//   adagrad          s = s + g g;  p -= lr g / (sqrt(s) + epsilon)          Duchi et al. 2011
//   rowwise_adagrad  s = s + mean over the row of g g, one s for a row; p as in adagrad
//                                                    Naumov et al. 2019 (arXiv:1906.00091), FBGEMM
//   adam             m = decay1 m + fresh1 g;  v = decay2 v + fresh2 g g    Kingma & Ba 2015
//                    p -= lr m / (sqrt(v) + epsilon)
//
// where lr, epsilon and the factors are those of this step: corrections of the bias and decay of
// the learning rate are in them.
//
// Which rows make the step: without `touched` those that occur, the others stand still with their
// state (lazy). With it all rows, as if the gradient were dense. Then a row that does not occur has
// g = weight_decay p, which moves nothing where weight_decay is 0 and the rule is sgd, adagrad or
// rowwise_adagrad, or where m is 0: rows whose flag is 0, all of whose state is 0, are left alone
// as long as weight_decay is 0. Rows that make the step have their flag set to 1.
//
// Tables and gradients are float32, float64 or bfloat16, state float32 (float64 with float64), in
// which everything is computed; a bfloat16 is rounded once, to nearest. On the CPU numbers below
// the smallest normal one count as 0: moments of rows that are left alone decay to there, and would
// take a hundred times as long.
//
// Every row has one writer and sums run in an order that depends on the ids alone, so results are
// bit-identical for any number of threads and from run to run. The occurrences of a row are summed
// in order, on the CPU in parts of kRowPart of its own, on CUDA in parts of kRunPartOccurrences of
// all sorted occurrences, and these are added in order. No ids: only the rows that do not occur
// make their step.
#pragma once

#include <cstdint>

#include "common/bfloat16.h"

namespace lexforge {

enum class RowRule : int { kSgd, kMomentum, kNesterov, kAdagrad, kRowwiseAdagrad, kAdam };

// Whether rows that do not occur move without weight decay.
inline bool has_momentum(RowRule rule) {
  return rule == RowRule::kMomentum || rule == RowRule::kNesterov || rule == RowRule::kAdam;
}

// While a step is made, the flag of a row that has made it.
constexpr uint8_t kRowUntouched = 0, kRowTouched = 1, kRowDone = 2;

// scalar_t is stat_t, or Bfloat16 with float.
template <typename scalar_t, typename stat_t>
struct RowUpdateParams {
  scalar_t* weight;           // [V, D] updated in place
  stat_t* first;              // [V, D] m or s, [V] with rowwise_adagrad; null with sgd
  stat_t* second;             // [V, D] v; null but with adam
  uint8_t* touched;           // [V] flags, or null: see above
  int64_t rows, dim;          // V, D
  const scalar_t* gradients;  // [N, D]
  RowRule rule;
  double lr, weight_decay, decay1, fresh1, decay2, fresh2, epsilon;
};

// CPU: a row that occurs more often than this is summed in parts of so many, by any thread.
constexpr int64_t kRowPart = 64;

// CPU: sum j adds rows from[members[m]] for begin[j] <= m < begin[j + 1], in order. With it row
// target[j] makes its step or, a part of a long sum, it is left in partial[~target[j]].
template <typename from_t, typename stat_t>
struct RowUpdateSums {
  const from_t* from;  // [., D] of scalar_t, or partial sums
  const int32_t* members;
  const int32_t* begin;   // [count + 1]
  const int32_t* target;  // [count]
  int64_t count;
  stat_t* partial;
};

// A range of sums, with memory for a row of stat_t; and of rows that do not occur, after all sums,
// with `touched` alone.
#define LEXFORGE_DECLARE_ROW_UPDATE(isa)                                                           \
  namespace isa {                                                                                  \
  template <typename from_t, typename scalar_t, typename stat_t>                                   \
  void row_update_sums(const RowUpdateParams<scalar_t, stat_t>&,                                   \
                       const RowUpdateSums<from_t, stat_t>&, int64_t first_sum, int64_t last,      \
                       stat_t* sum);                                                               \
  template <typename scalar_t, typename stat_t>                                                    \
  void row_update_rest(const RowUpdateParams<scalar_t, stat_t>&, int64_t first_row, int64_t last); \
  }
LEXFORGE_DECLARE_ROW_UPDATE(baseline)
LEXFORGE_DECLARE_ROW_UPDATE(avx2)
LEXFORGE_DECLARE_ROW_UPDATE(avx512)
#undef LEXFORGE_DECLARE_ROW_UPDATE

// CUDA. Ids without a row are left out.
template <typename scalar_t, typename stat_t>
struct RowUpdateCudaParams {
  RowUpdateParams<scalar_t, stat_t> update;
  const int32_t* sorted_id;  // [N] ascending; V stands for ids without a row
  const int32_t* sorted_i;   // [N] whose ids they are, ascending where ids are equal
  int64_t count;             // N
  stat_t* partial;           // [run_partials(N), D] scratch
};
template <typename scalar_t, typename stat_t>
void launch_row_update(const RowUpdateCudaParams<scalar_t, stat_t>& params, void* stream);

}  // namespace lexforge
