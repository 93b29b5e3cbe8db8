// The inputs of CBOW with bags: sums of rows that neighbouring windows have in common.
// A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "word2vec/cpu/plan_impl.h"
#include "word2vec/cpu/table_lanes_impl.h"
// On its lanes.
#include "common/register_blocks.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// A word is in the windows of all its neighbours, and with a bag it is many rows. So its rows are
// added up once for a plan, and what windows change them by is added to them once, at the end. In
// between only the sums are kept up to date: where a window adds g to every row of its bags, the sum
// of a bag grows by g as many times as the two have rows in common, which are counted beforehand.
// All windows then see what they would see if every one had changed the rows themselves.
template <typename L>
class BagSums {
 public:
  using scalar_t = typename L::scalar;
  using row_t = typename L::row;
  using reg = typename L::reg;

  BagSums(const Word2vecTrainParams<row_t>& params, const Word2vecTrainPlan& sizes, Carver& carve)
      : stride_(params.stride),
        slots_(sizes.sums ? sizes.most_tokens : 0),
        sum_(carve.take<scalar_t>(slots_ * params.stride)),
        change_(carve.take<scalar_t>(slots_ * params.stride)),
        width_((slots_ + W - 1) / W * W),
        in_common_(carve.take<scalar_t>(slots_ * width_)),
        times_(carve.take<scalar_t>(width_)),
        mask_(sizes.sums ? sizes.bag_places - 1 : 0),
        row_(carve.take<const row_t*>(sizes.sums ? sizes.bag_places : 0)),
        latest_(carve.take<int32_t>(sizes.sums ? sizes.bag_places : 0)),
        slot_(carve.take<int32_t>(sizes.sums ? sizes.most_bag_rows : 0)),
        before_(carve.take<int32_t>(sizes.sums ? sizes.most_bag_rows : 0)),
        place_(carve.take<int32_t>(sizes.sums ? sizes.most_bag_rows : 0)) {
    if (sizes.sums) std::memset(row_, 0, sizes.bag_places * sizeof *row_);
  }

  // Adds up the bags of a plan. The rows are read together, without waiting for each other: to fetch
  // them while the plan before is trained was slower by a fifth.
  void begin(const Plan<row_t>& plan) {
    count_in_common(plan);
    std::memset(change_, 0, plan.slots * stride_ * sizeof *change_);
    for (int64_t u = 0; u < plan.slots; ++u) {
      const int64_t first = plan.slot_begin[u], last = plan.slot_begin[u + 1];
      each_block<L>(stride_, [&]<int64_t kRegisters>(int64_t d) LEXFORGE_INLINED {
        reg sum[kRegisters];
        load(plan.bag_row[first] + d, sum);
        for (int64_t n = first + 1; n < last; ++n) add(plan.bag_row[n] + d, sum);
        store(sum, sum_ + u * stride_ + d);
      });
    }
  }

  // into <- share times the sum of a window's bags, as they are now.
  void gather(const Plan<row_t>& plan, const Window<row_t>& window, scalar_t share,
              scalar_t* into) const {
    const reg factor = L::broadcast(share);
    each_block<L>(stride_, [&]<int64_t kRegisters>(int64_t d) LEXFORGE_INLINED {
      reg sum[kRegisters];
#pragma GCC unroll 32
      for (int64_t r = 0; r < kRegisters; ++r) sum[r] = L::zero();
      for_each_slot(plan, window,
                    [&](int64_t u) LEXFORGE_INLINED { add(sum_ + u * stride_ + d, sum); });
#pragma GCC unroll 32
      for (int64_t r = 0; r < kRegisters; ++r) sum[r] = L::mul(factor, sum[r]);
      store(sum, into + d);
    });
  }

  // Adds a change to every row of a window's bags.
  void add(const Plan<row_t>& plan, const Window<row_t>& window, const scalar_t* change) {
    std::memset(times_, 0, width_ * sizeof *times_);
    for_each_slot(plan, window, [&](int64_t u) LEXFORGE_INLINED {
      const scalar_t* times = in_common_ + u * width_;
      for (int64_t v = 0; v < width_; v += W) {
        L::store(times_ + v, L::add(L::load(times_ + v), L::load(times + v)));
      }
    });
    const auto number = static_cast<int32_t>(&window - plan.window);
    each_block<L>(stride_, [&]<int64_t kRegisters>(int64_t d) LEXFORGE_INLINED {
      reg by[kRegisters];
      load(change + d, by);
      for_each_slot(plan, window,
                    [&](int64_t u) LEXFORGE_INLINED { add_to(change_ + u * stride_ + d, 1, by); });
      for (int64_t u = 0; u < plan.slots; ++u) {
        if (times_[u] != 0 && plan.slot_end[u] > number) {
          add_to(sum_ + u * stride_ + d, times_[u], by);
        }
      }
    });
  }

  // Adds all changes to the rows.
  void end(const Plan<row_t>& plan) const {
    for (int64_t u = 0; u < plan.slots; ++u) {
      each_block<L>(stride_, [&]<int64_t kRegisters>(int64_t d) LEXFORGE_INLINED {
        reg by[kRegisters];
        load(change_ + u * stride_ + d, by);
        for (int64_t n = plan.slot_begin[u]; n < plan.slot_begin[u + 1]; ++n) {
          add_to(plan.bag_row[n] + d, 1, by);
        }
      });
    }
  }

 private:
  static constexpr int64_t W = L::kWidth;

  template <typename Visit>
  static LEXFORGE_INLINE void for_each_slot(const Plan<row_t>& plan, const Window<row_t>& window,
                                            const Visit& visit) {
    for (const Range& part : window.tokens) {
      for (int64_t k = part.begin; k < part.begin + part.count; ++k) visit(plan.slot[k]);
    }
  }

  template <typename T, int64_t kRegisters>
  static LEXFORGE_INLINE void load(const T* from, reg (&into)[kRegisters]) {
#pragma GCC unroll 32
    for (int64_t r = 0; r < kRegisters; ++r) into[r] = L::load(from + r * W);
  }
  template <int64_t kRegisters>
  static LEXFORGE_INLINE void store(const reg (&from)[kRegisters], scalar_t* into) {
#pragma GCC unroll 32
    for (int64_t r = 0; r < kRegisters; ++r) L::store(into + r * W, from[r]);
  }
  template <typename T, int64_t kRegisters>
  static LEXFORGE_INLINE void add(const T* from, reg (&into)[kRegisters]) {
#pragma GCC unroll 32
    for (int64_t r = 0; r < kRegisters; ++r) into[r] = L::add(into[r], L::load(from + r * W));
  }
  template <typename T, int64_t kRegisters>
  static LEXFORGE_INLINE void add_to(T* into, scalar_t factor, const reg (&from)[kRegisters]) {
    const reg f = L::broadcast(factor);
#pragma GCC unroll 32
    for (int64_t r = 0; r < kRegisters; ++r) {
      L::store(into + r * W, L::fma(f, from[r], L::load(into + r * W)));
    }
  }

  // in_common_[u * width_ + v] <- in how many ways a row of bag u is one of bag v. A table of rows
  // has the latest place in the plan's list that each of them was met at, and a list the place
  // before that.
  void count_in_common(const Plan<row_t>& plan) {
    std::memset(in_common_, 0, plan.slots * width_ * sizeof *in_common_);
    for (int64_t u = 0; u < plan.slots; ++u) {
      for (int64_t n = plan.slot_begin[u]; n < plan.slot_begin[u + 1]; ++n) {
        const int64_t place = place_of(plan.bag_row[n]);
        if (row_[place] == nullptr) {
          row_[place] = plan.bag_row[n];
          latest_[place] = -1;
        }
        for (int32_t other = latest_[place]; other >= 0; other = before_[other]) {
          in_common_[u * width_ + slot_[other]] += 1;
          in_common_[slot_[other] * width_ + u] += 1;
        }
        in_common_[u * width_ + u] += 1;
        slot_[n] = static_cast<int32_t>(u);
        place_[n] = static_cast<int32_t>(place);
        before_[n] = latest_[place];
        latest_[place] = static_cast<int32_t>(n);
      }
    }
    const int64_t rows = plan.slots == 0 ? 0 : plan.slot_begin[plan.slots];
    for (int64_t n = 0; n < rows; ++n) row_[place_[n]] = nullptr;
  }

  // Where a row is in the table, or where there is room for it.
  int64_t place_of(const row_t* row) const {
    const auto key = reinterpret_cast<uintptr_t>(row) / 64;
    int64_t place = static_cast<int64_t>(key * 0x9E3779B97F4A7C15u >> 32) & mask_;
    while (row_[place] != nullptr && row_[place] != row) place = (place + 1) & mask_;
    return place;
  }

  const int64_t stride_, slots_;
  scalar_t* sum_;        // of each bag, as it is now
  scalar_t* change_;     // to be added to each of its rows
  const int64_t width_;  // of the next two
  scalar_t* in_common_;
  scalar_t* times_;  // that a window's change goes into each sum
  const int64_t mask_;
  const row_t** row_;  // by hash; null where nothing is
  int32_t* latest_;
  int32_t* slot_;
  int32_t* before_;
  int32_t* place_;  // of each row, in the table
};

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
