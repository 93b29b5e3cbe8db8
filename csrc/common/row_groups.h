// Groups the occurrences of table rows in a batch, so that every row has one writer that adds its
// occurrences in batch order: the sums do not depend on threads. On CUDA the same is a stable sort.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace lexforge {

// Row rows[g] occurs at members[begin[g] .. begin[g + 1]), ascending.
struct RowGroups {
  int32_t* rows;     // [min(V, occurrences)]
  int32_t* begin;    // [min(V, occurrences) + 1]
  int32_t* members;  // [occurrences]
  int64_t count;
};

// Counting sort of the occurrences i in [0, n) for which used(i) holds, by ids[i]. Rows come in
// the order of their first occurrence, in O(n) whatever V is, or ascending, for a sort more.
// `head` [V] is scratch: zeros before and after.
template <typename Used>
void group_rows(const int32_t* ids, int64_t n, int32_t* head, RowGroups& groups, bool ascending,
                const Used& used) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (used(i) && head[ids[i]]++ == 0) groups.rows[count++] = ids[i];
  }
  if (ascending) std::sort(groups.rows, groups.rows + count);
  int32_t total = 0;
  for (int64_t g = 0; g < count; ++g) {
    int32_t& slot = head[groups.rows[g]];
    groups.begin[g] = total;
    total += slot;
    slot = groups.begin[g];
  }
  groups.begin[count] = total;
  for (int64_t i = 0; i < n; ++i) {
    if (used(i)) groups.members[head[ids[i]]++] = static_cast<int32_t>(i);
  }
  for (int64_t g = 0; g < count; ++g) head[groups.rows[g]] = 0;
  groups.count = count;
}

// Splits groups [0, count) into work of even size for parallel_for over [0, group_cost(count)):
// a group costs `per_group` plus one per member. A chunk [first, last) of the cost owns the groups
// [group_at(first), group_at(last)). begin[g] is where group g begins.
template <typename Begin>
int64_t group_cost(const Begin& begin, int64_t group, int64_t per_group) {
  return group * per_group + begin[group];
}

template <typename Begin>
int64_t group_at(const Begin& begin, int64_t count, int64_t per_group, int64_t cost) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (group_cost(begin, middle, per_group) < cost) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// CUDA: what sort_by_row takes: keys[i] = ids[i], or `rows` where that is no row, and occurrence[i]
// = i.
void launch_row_keys(const int32_t* ids, int64_t n, int64_t rows, int32_t* keys,
                     int32_t* occurrence, void* stream);

// CUDA: sorts occurrences by row, stably; keys are rows in [0, rows], where `rows` itself may stand
// for what is left out. A null storage asks for its size in bytes, which is returned.
size_t sort_by_row(void* storage, size_t bytes, const int32_t* keys_in, int32_t* keys_out,
                   const int32_t* values_in, int32_t* values_out, int64_t n, int64_t rows,
                   void* stream);

}  // namespace lexforge
