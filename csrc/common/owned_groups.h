// The groups of one index array, for bindings.
#pragma once

#include <algorithm>
#include <vector>

#include "common/binding.h"
#include "common/row_groups.h"

namespace lexforge {

// group_rows and the memory that holds its result.
struct OwnedGroups {
  std::vector<int32_t> rows, begin, members;
  RowGroups groups;

  template <typename Used>
  OwnedGroups(const int32_t* ids, int64_t n, int64_t table_rows, bool ascending, const Used& used)
      : rows(std::min(n, table_rows)), begin(rows.size() + 1), members(n) {
    std::vector<int32_t> head(table_rows);
    groups = {rows.data(), begin.data(), members.data(), 0};
    group_rows(ids, n, head.data(), groups, ascending, used);
  }
};

// work(first group, last) over all groups on torch's threads, in tasks of even cost (row_groups.h).
template <typename Work>
void for_groups(const int32_t* begin, int64_t count, int64_t per_group, int64_t grain,
                const Work& work) {
  torch::stable::parallel_for(
      0, group_cost(begin, count, per_group), grain, [&](int64_t first, int64_t last) {
        work(group_at(begin, count, per_group, first), group_at(begin, count, per_group, last));
      });
}

}  // namespace lexforge
