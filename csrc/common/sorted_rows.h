// For *_ops_cuda.cpp: occurrences of table rows in the order of the rows, and the memory that
// algorithms of CUB ask for.
#pragma once

#include <algorithm>

#include "common/binding.h"
#include "common/row_groups.h"

namespace lexforge {

// Calls algorithm(storage, bytes) for the bytes that it wants, and again with them. Without storage
// it would tell the bytes once more, so there is always some.
template <typename Algorithm>
void with_storage(const Tensor& like, const Algorithm& algorithm) {
  const size_t bytes = std::max(algorithm(nullptr, 0), size_t{1});
  const Tensor storage = new_empty(like, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  algorithm(storage.data_ptr(), bytes);
}

// Rows in ascending order, and the occurrence of each; equal rows in the order they came in.
struct SortedRows {
  Tensor rows, occurrences;  // int32 [n]
};

inline SortedRows sort_rows(const Tensor& keys, const Tensor& occurrences, int64_t table_rows,
                            void* stream) {
  const int64_t n = keys.numel();
  SortedRows sorted{new_empty(keys, {n}), new_empty(keys, {n})};
  if (n == 0) return sorted;
  with_storage(keys, [&](void* storage, size_t bytes) {
    return sort_by_row(storage, bytes, data<int32_t>(keys), data<int32_t>(sorted.rows),
                       data<int32_t>(occurrences), data<int32_t>(sorted.occurrences), n, table_rows,
                       stream);
  });
  return sorted;
}

// Of ids, of which those that are no row come last, as `table_rows`.
inline SortedRows sort_ids(const Tensor& ids, int64_t table_rows, void* stream) {
  const int64_t n = ids.numel();
  const Tensor keys = new_empty(ids, {n}), occurrences = new_empty(ids, {n});
  launch_row_keys(data<const int32_t>(ids), n, table_rows, data<int32_t>(keys),
                  data<int32_t>(occurrences), stream);
  return sort_rows(keys, occurrences, table_rows, stream);
}

}  // namespace lexforge
