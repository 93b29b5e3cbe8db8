// Training by a team of threads whose result does not depend on their number: each thread works on
// columns of its own, of all rows. A part of word2vec_train_cpu_impl.h.
#pragma once

#include <cstdint>

#include "common/scratch.h"
#include "word2vec/word2vec_train_cpu.h"
// The instruction set applies from here on.
#include "word2vec/cpu/plan_impl.h"
#include "word2vec/cpu/read_impl.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

// The rows of a group that are to be fetched, one after another.
template <typename scalar_t>
class Rows {
 public:
  Rows(Plan<scalar_t>* const* parts, int64_t members) : parts_(parts), end_(parts + members) {}

  // Calls fetch(row) with the next one, if there is one.
  template <typename Fetch>
  LEXFORGE_INLINE void next(const Fetch& fetch) {
    ++count_;
    while (parts_ != end_ && index_ == (*parts_)->colds) {
      ++parts_;
      index_ = 0;
    }
    if (parts_ != end_) fetch((*parts_)->cold[index_++]);
  }

  // As often as it takes to have been called so many times.
  template <typename Fetch>
  LEXFORGE_INLINE void until(int64_t count, const Fetch& fetch) {
    while (count_ < count) next(fetch);
  }

 private:
  Plan<scalar_t>* const* parts_;
  Plan<scalar_t>* const* const end_;
  int64_t index_ = 0, count_ = 0;
};

// Groups of consecutive kept tokens, planned part by part by the members of a team.
template <typename scalar_t>
class Groups {
 public:
  Groups(const Word2vecTrainParams<scalar_t>& params, const Word2vecTrainPlan& sizes,
         int64_t token_count, const TeamMember& member, Carver& carve)
      : params_(params),
        sizes_(sizes),
        member_(member),
        kept_(sizes.kept + Reader<scalar_t>::kSpan + 1, carve),
        reader_(params, token_count) {}

  // Plans this member's part of the next group; false where there is none.
  bool plan_next(Plan<scalar_t>& plan) {
    read_on();
    if (next_ == kept_.size) return false;
    const int64_t begin = next_++;
    while (next_ < begin + params_.together && next_ < kept_.size && block(next_) == block(begin)) {
      ++next_;
    }
    const int64_t size = next_ - begin;
    plan.make(kept_, begin + size * member_.index / member_.members,
              begin + size * (member_.index + 1) / member_.members);
    return true;
  }

  bool valid() const { return reader_.valid(); }

 private:
  // Groups end with blocks of sentences.
  int64_t block(int64_t at) const {
    return static_cast<uint32_t>(kept_.sentence[at]) / kSentencesTogether;
  }

  // Until the next group and all that its windows see has been read.
  void read_on() {
    if (reader_.done() || next_ + params_.together + params_.window <= kept_.size) return;
    const int64_t dropped = next_ > params_.window ? next_ - params_.window : 0;
    kept_.drop_front(dropped);
    next_ -= dropped;
    reader_.fill(kept_, sizes_.kept);
  }

  const Word2vecTrainParams<scalar_t>& params_;
  const Word2vecTrainPlan& sizes_;
  const TeamMember& member_;
  Kept<scalar_t> kept_;
  Reader<scalar_t> reader_;
  int64_t next_ = 0;  // those before it are in groups
};

// Word2vecTogetherFunction's contract, with the parts of a Step that work on columns.
//
// A dot product is the sum of those of each part's columns, in their order, so it is the same
// whoever finds them; errors follow from it, and what happens to a column from the errors. (Ordentlich
// et al. 2016, "Network-efficient distributed word2vec training system for large vocabularies", cut
// tables by columns between machines, which then exchange dot products, as the threads do here.)
//
// A member plans its part of each group of windows, and finds the dot products of its columns in all
// of the group. Then all meet, and each updates its columns, window by window. One meeting for a
// group is enough: plans are made two groups ahead, and the dot products of two groups have places
// of their own.
template <typename Step>
bool train_together(const Word2vecTrainParams<typename Step::scalar_t>& params, int64_t token_count,
                    const TeamMember& member, void* shared, void* workspace, double* stats) {
  using scalar_t = typename Step::scalar_t;
  constexpr int64_t kErrors = Word2vecTrainPlan::kErrors;
  constexpr int64_t kPlans = 4;
  const int64_t members = member.members;
  const Word2vecTrainPlan sizes(params, members);
  Carver carve(workspace);
  OwnRows<scalar_t> own(params, sizes, members, carve);
  Plan<scalar_t> plans[kPlans] = {{params, sizes, own, carve},
                                  {params, sizes, own, carve},
                                  {params, sizes, own, carve},
                                  {params, sizes, own, carve}};
  Step step(params, sizes, carve);
  Groups<scalar_t> groups(params, sizes, token_count, member, carve);

  const int64_t parts = params.parts, width = step.stride();
  const int64_t first_part = parts * member.index / members;
  const int64_t last_part = parts * (member.index + 1) / members;
  const auto columns_of = [&](int64_t part) {
    return Columns{part * params.in_rows * width, part * params.vocab_size * width, part * width,
                   width};
  };
  const auto fetch_own = [&](const scalar_t* row) {  // without bags all tables are alike
    for (int64_t part = first_part; part < last_part; ++part) {
      const scalar_t* columns = row + columns_of(part).in_target;
      // Into the second-level cache: a group's rows are more than the first one holds.
      constexpr int64_t kLine = 64 / sizeof(scalar_t);
      for (int64_t d = 0; d < width; d += kLine) __builtin_prefetch(columns + d, 0, 2);
    }
  };

  Carver carve_shared(shared);
  Plan<scalar_t>** const planned = carve_shared.take<Plan<scalar_t>*>(kPlans * members);
  const int64_t apart = params.together * sizes.most_errors * kErrors;  // scores of two parts
  scalar_t* const scores[2] = {carve_shared.take<scalar_t>(parts * apart),
                               carve_shared.take<scalar_t>(parts * apart)};
  for (int64_t i = 0; i < kPlans; ++i) planned[i * members + member.index] = &plans[i];

  bool valid = true;
  int64_t made = 0;
  const auto plan_next = [&] {
    Plan<scalar_t>& plan = plans[made % kPlans];
    if (!groups.plan_next(plan)) return;
    valid = valid && plan.valid && groups.valid();
    ++made;
  };
  plan_next();
  plan_next();
  if (!member.meeting.wait(valid && groups.valid())) return false;

  double loss = 0;
  int64_t inputs = 0, centers = 0;
  for (int64_t group = 0; group < made; ++group) {
    plan_next();
    Plan<scalar_t>* const* now = planned + group % kPlans * members;
    Rows<scalar_t> ahead(planned + (group + 1) % kPlans * members, group + 1 < made ? members : 0);
    scalar_t* const score = scores[group % 2];
    const auto rows_of = [](const Window<scalar_t>& window) {
      return window.end_cold - window.first_cold;
    };
    const auto errors_of = [](const Window<scalar_t>& window) {
      return (window.shared_tiles + window.own_tiles) * window.inputs * kErrors;
    };
    const auto each = [&](const auto& visit) {
      int64_t at = 0;  // where the scores of the window begin
      for (int64_t planner = 0; planner < members; ++planner) {
        const Plan<scalar_t>& plan = *now[planner];
        for (int64_t i = 0; i < plan.size; ++i) {
          visit(plan, plan.window[i], score + at);
          at += errors_of(plan.window[i]);
        }
      }
    };
    // As many rows of the next group are fetched as of this one are worked on, half of them now.
    int64_t rows = 0;
    each([&](const Plan<scalar_t>& plan, const Window<scalar_t>& window, scalar_t* own) {
      for (int64_t part = first_part; part < last_part; ++part) {
        step.scores(plan, window, columns_of(part), own + part * apart);
      }
      ahead.until(rows += rows_of(window) / 2, fetch_own);
    });
    if (!member.meeting.wait(valid && groups.valid())) return false;
    each([&](const Plan<scalar_t>& plan, const Window<scalar_t>& window, const scalar_t* all) {
      loss += step.errors_of(plan, window, all, parts, apart);
      for (int64_t part = first_part; part < last_part; ++part) {
        step.update_later(plan, window, columns_of(part));
      }
      ahead.until(rows += (rows_of(window) + 1) / 2, fetch_own);
    });
    for (int64_t planner = 0; planner < members; ++planner) {
      inputs += now[planner]->inputs;
      centers += now[planner]->centers;
    }
  }
  member.meeting.wait(true);  // the others have done with this one's plans
  if (member.index == 0) {
    stats[0] += loss;
    stats[1] += static_cast<double>(inputs);
    stats[2] += static_cast<double>(centers);
  }
  return true;
}

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
