// The groups of one index array, for bindings.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "common/binding.h"
#include "common/row_groups.h"

namespace lexforge {

// A table of so many rows for each occurrence is not looked through: they are sorted.
constexpr int64_t kLongTable = 32;

// group_rows and the memory that holds its result. Rows that need not ascend come in any order.
struct OwnedGroups {
  std::vector<int32_t> rows, begin, members;
  RowGroups groups;

  template <typename Used>
  OwnedGroups(const int32_t* ids, int64_t n, int64_t table_rows, bool ascending, const Used& used)
      : rows(std::min(n, table_rows)), begin(rows.size() + 1), members(n) {
    groups = {rows.data(), begin.data(), members.data(), 0};
    if (table_rows / kLongTable > n) {
      sort_rows(ids, n, used);
    } else {
      std::vector<int32_t> head(table_rows);
      group_rows(ids, n, head.data(), groups, ascending, used);
    }
  }

 private:
  // What group_rows does, rows ascending, in time and memory that do not grow with the table.
  template <typename Used>
  void sort_rows(const int32_t* ids, int64_t n, const Used& used) {
    std::vector<std::pair<int32_t, int32_t>> occurrences;
    occurrences.reserve(n);
    for (int64_t i = 0; i < n; ++i) {
      if (used(i)) occurrences.emplace_back(ids[i], static_cast<int32_t>(i));
    }
    std::sort(occurrences.begin(), occurrences.end());
    int64_t count = 0, member = 0;
    for (const auto& [row, i] : occurrences) {
      if (count == 0 || groups.rows[count - 1] != row) {
        groups.begin[count] = static_cast<int32_t>(member);
        groups.rows[count++] = row;
      }
      groups.members[member++] = i;
    }
    groups.begin[count] = static_cast<int32_t>(member);
    groups.count = count;
  }
};

// The same sums with the long ones cut, so that none is the work of one thread: sum j adds the
// members begin[j] .. begin[j + 1] into row target[j], or, a part of a long group, into partial sum
// ~target[j]. Then long sum k adds up the partial sums parts[long_begin[k] .. long_begin[k + 1]) of
// row long_target[k]. What is cut where depends on the groups alone.
struct CutGroups {
  std::vector<int32_t> begin, target, long_begin, long_target, parts;

  // row(g) of groups [0, count) with the members begin_of[g] .. begin_of[g + 1].
  template <typename Row>
  CutGroups(const int32_t* begin_of, int64_t count, int64_t part, const Row& row) {
    const int64_t members = begin_of[count];
    begin.reserve(count + members / part + 1);
    target.reserve(count + members / part);
    for (int64_t g = 0; g < count; ++g) {
      const int32_t first = begin_of[g], last = begin_of[g + 1];
      if (last - first <= part) {
        begin.push_back(first);
        target.push_back(static_cast<int32_t>(row(g)));
        continue;
      }
      long_begin.push_back(static_cast<int32_t>(parts.size()));
      long_target.push_back(static_cast<int32_t>(row(g)));
      for (int64_t m = first; m < last; m += part) {
        const auto number = static_cast<int32_t>(parts.size());
        begin.push_back(static_cast<int32_t>(m));
        target.push_back(~number);
        parts.push_back(number);
      }
    }
    begin.push_back(static_cast<int32_t>(members));
    long_begin.push_back(static_cast<int32_t>(parts.size()));
  }
  int64_t sums() const { return static_cast<int64_t>(target.size()); }
  int64_t long_sums() const { return static_cast<int64_t>(long_target.size()); }
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
