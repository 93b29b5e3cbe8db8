// For *_ops.cpp: what the CPU's side of a binding takes besides.
#pragma once

#include <algorithm>
#include <atomic>

#include "common/binding.h"
#include "common/cpu_capability.h"
#include "common/huge_pages.h"
#include "common/scratch.h"

namespace lexforge {

using torch::stable::parallel_for;

// The Device of bindings on the CPU, where ids are looked at before a kernel runs.
struct CpuCall {
  static constexpr bool kReadable = true;  // the content of tensors, here

  explicit CpuCall(const Tensor&) {}

  // A new tensor that may be large.
  static Tensor large(const Tensor& tensor) { return on_huge_pages(tensor); }

  // A new tensor of zeros, most of which may stay so.
  static Tensor zeros(const Tensor& like, Sizes sizes) { return zeroed(new_empty(like, sizes)); }

  // The first id that is no row of a table of so many.
  static void check_ids(const Checks& check, const char* name, const Tensor& ids, int64_t rows) {
    const auto* id = data<const int32_t>(ids);
    const int64_t count = ids.numel();
    uint32_t largest = 0;  // a negative id is larger than any row
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, static_cast<uint32_t>(id[i]));
    if (count == 0 || largest < static_cast<uint64_t>(rows)) return;
    const auto outside = [&](int32_t i) { return i < 0 || i >= rows; };
    const auto* bad = std::find_if(id, id + count, outside);
    check.that(false, name, " must be in [0, ", rows, "), got ", *bad, " at position ", bad - id);
  }

  // What kernels assume of the bounds [count + 1] of packed sequences (common/packed.h): that they
  // ascend from 0 to the number of rows, by at most max_length.
  struct PackedNames {
    const char *cu, *max_length, *rows;
  };
  static void check_packed(const Checks& check, const PackedNames& names, const int32_t* cu,
                           int64_t count, int64_t rows, int64_t max_length) {
    check.that(cu[0] == 0, names.cu, " must start at 0, got ", cu[0]);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t length = int64_t{cu[i + 1]} - cu[i];
      check.that(length >= 0, names.cu, " must ascend, got ", cu[i], " before ", cu[i + 1]);
      check.that(length <= max_length, names.max_length, " must be at least ", length,
                 ", the length of sequence ", i, ", got ", max_length);
    }
    check.that(cu[count] == rows, names.cu, " must end at ", names.rows, " = ", rows, ", got ",
               cu[count]);
  }
};

// parallel_for with memory of so many bytes for each range: kernel(first, last, memory).
template <typename Kernel>
void parallel_with_scratch(const char* op, int64_t count, int64_t grain, int64_t bytes,
                           const Kernel& kernel) {
  std::atomic<bool> out_of_memory{false};
  parallel_for(0, count, std::max<int64_t>(1, grain), [&](int64_t first, int64_t last) {
    if (const Scratch memory = new_scratch(bytes)) {
      kernel(first, last, memory.get());
    } else {
      out_of_memory = true;
    }
  });
  if (out_of_memory) fail(op, ": no memory for a workspace of ", bytes, " bytes");
}

}  // namespace lexforge
