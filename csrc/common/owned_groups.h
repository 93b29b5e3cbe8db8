// The groups of one index array, for bindings.
#pragma once

#include <algorithm>
#include <vector>

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

}  // namespace lexforge
