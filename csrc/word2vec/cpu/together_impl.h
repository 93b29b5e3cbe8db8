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

// Calls visit(plan, window) for the windows of a group, whose parts have been planned by as many
// members.
template <typename scalar_t, typename Visit>
LEXFORGE_INLINE void for_each_window(Plan<scalar_t>* const* parts, int64_t members,
                                     const Visit& visit) {
  for (int64_t part = 0; part < members; ++part) {
    const Plan<scalar_t>& plan = *parts[part];
    for (int64_t i = 0; i < plan.size; ++i) visit(plan, plan.window[i]);
  }
}

// The rows of a group, one after another.
template <typename scalar_t>
class Rows {
 public:
  Rows(Plan<scalar_t>* const* parts, int64_t members) : parts_(parts), end_(parts + members) {}

  // Fetches some columns of the next row; nothing after the last one.
  LEXFORGE_INLINE void fetch(int64_t from, int64_t to) {
    while (parts_ != end_ && index_ == (*parts_)->rows) {
      ++parts_;
      index_ = 0;
    }
    if (parts_ != end_) prefetch((*parts_)->row[index_++], from, to);
  }

 private:
  Plan<scalar_t>* const* parts_;
  Plan<scalar_t>* const* const end_;
  int64_t index_ = 0;
};

// Groups of consecutive kept tokens of a sentence, planned part by part by the members of a team.
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
    while (next_ < begin + params_.together && next_ < kept_.size &&
           kept_.sentence[next_] == kept_.sentence[begin]) {
      ++next_;
    }
    const int64_t size = next_ - begin;
    plan.make(kept_, begin + size * member_.index / member_.members,
              begin + size * (member_.index + 1) / member_.members);
    return true;
  }

  bool valid() const { return reader_.valid(); }

 private:
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
// A dot product is the sum of those of kColumns columns each, in their order, so it is the same
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
  constexpr int64_t kErrors = Word2vecTrainPlan::kErrors, kColumns = Word2vecTrainPlan::kColumns;
  constexpr int64_t kPlans = 4;
  const int64_t members = member.members;
  const Word2vecTrainPlan sizes(params, members);
  Carver carve(workspace);
  Plan<scalar_t> plans[kPlans] = {{params, sizes, carve},
                                  {params, sizes, carve},
                                  {params, sizes, carve},
                                  {params, sizes, carve}};
  Step step(params, sizes, carve);
  Groups<scalar_t> groups(params, sizes, token_count, member, carve);

  const int64_t stride = step.stride(), parts = (stride + kColumns - 1) / kColumns;
  const auto column = [&](int64_t part) {
    return part * kColumns < stride ? part * kColumns : stride;
  };
  const int64_t first_part = parts * member.index / members;
  const int64_t last_part = parts * (member.index + 1) / members;
  const int64_t from = column(first_part), to = column(last_part);

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
    const auto errors_of = [&](const Window<scalar_t>& window) {
      return (window.shared_tiles + window.own_tiles) * window.inputs * kErrors;
    };
    int64_t at = 0;
    if (from < to) {
      for_each_window(
          now, members, [&](const Plan<scalar_t>& plan, const Window<scalar_t>& window) {
            step.scores(plan, window, column(first_part), column(first_part + 1),
                        score + first_part * apart + at, [&] { ahead.fetch(from, to); });
            for (int64_t part = first_part + 1; part < last_part; ++part) {
              step.scores(plan, window, column(part), column(part + 1), score + part * apart + at,
                          [] {});
            }
            at += errors_of(window);
          });
    }
    if (!member.meeting.wait(valid && groups.valid())) return false;
    at = 0;
    if (from < to) {
      for_each_window(now, members,
                      [&](const Plan<scalar_t>& plan, const Window<scalar_t>& window) {
                        loss += step.errors_of(plan, window, score + at, parts, apart);
                        step.update_later(plan, window, from, to);
                        at += errors_of(window);
                      });
    }
    for (int64_t part = 0; part < members; ++part) {
      inputs += now[part]->inputs;
      centers += now[part]->centers;
    }
  }
  member.meeting.wait(true);  // the others have done with this one's plans
  if (member.index == members - 1) {  // which has columns, whoever else has none
    stats[0] += loss;
    stats[1] += static_cast<double>(inputs);
    stats[2] += static_cast<double>(centers);
  }
  return true;
}

}  // namespace
}  // namespace lexforge::LEXFORGE_ISA
