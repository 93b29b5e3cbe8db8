// CPU binding of split_product.h.
#include <mutex>

#include "common/cpu_binding.h"
#include "transformer/split_product.h"

namespace lexforge {
namespace {

constexpr int64_t kPackedBytes = int64_t{1} << 20;  // of the right matrix, at a time: half a cache
constexpr int64_t kMostColumns = 512;

using Operand = SplitOperand<float>;
using Params = SplitProductParams<float, float, float>;

Operand operand(const Checks& check, const char* name, const Tensor& x, int64_t free) {
  check.dtype(name, x, ScalarType::Float);
  check.that(x.dim() == 2, name, " must have 2 dimensions, got ", x.dim());
  const int64_t steps[2] = {x.stride(free), x.stride(1 - free)};
  check.that((steps[0] == 1 && steps[1] >= x.size(free)) ||
                 (steps[1] == 1 && steps[0] >= x.size(1 - free)),
             name, " must have one dimension along memory, got strides ", x.stride(0), " and ",
             x.stride(1));
  return {data<const float>(x), steps[0], steps[1]};
}

// What all threads saw of a matrix.
class SharedRange {
 public:
  void include(const ValueRange& seen) {
    const std::lock_guard lock(mutex_);
    range_.include(seen);
  }
  const ValueRange& get() const { return range_; }

 private:
  std::mutex mutex_;
  ValueRange range_;
};

// Looks at both matrices, on all threads.
bool is_exact(const Params& p) {
  const int64_t threads = torch::stable::get_num_threads();
  SharedRange left, right;
  parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    const auto look = [&](const Operand& x, int64_t free) {
      const int64_t count = x.free == 1 ? p.depth : free, length = x.free == 1 ? free : p.depth;
      return amx::split_range(x, count * begin / threads, count * end / threads, length);
    };
    left.include(look(p.left, p.rows));
    right.include(look(p.right, p.columns));
  });
  return amx::split_is_exact(left.get(), right.get(), p.depth);
}

// Returns whether y is right.
bool run(const Params& p) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t most = std::min(kMostColumns, p.columns), panels = split_units(most, kSplitColumns);
  // A block is as deep as the cache allows, in whole segments.
  const int64_t segments = kPackedBytes / (panels * split_panel_bytes(kSplitSegment));
  const int64_t depth = std::min(std::clamp<int64_t>(segments, 1, 8) * kSplitSegment, p.depth);
  const int64_t bytes = split_panel_bytes(depth);
  const Scratch memory = new_scratch((panels + threads) * bytes);
  if (!memory) fail("split_product_: no memory for ", (panels + threads) * bytes, " bytes");
  char* packed = static_cast<char*>(memory.get());
  const int64_t row_blocks = split_units(p.rows, kSplitRows);
  SharedRange left, right;
  for (int64_t column = 0; column < p.columns; column += kMostColumns) {
    for (int64_t k = 0; k < p.depth; k += depth) {
      const SplitBlock block{k, std::min(depth, p.depth - k), column,
                             std::min(kMostColumns, p.columns - column)};
      const int64_t of_block = split_units(block.columns, kSplitColumns);
      parallel_for(0, of_block, 1, [&](int64_t first, int64_t last) {
        right.include(amx::split_pack<kSplitParts>(p, block, first, last, packed));
      });
      // Few blocks of rows that the threads cannot share equally are cut into columns, too.
      const bool even = row_blocks % threads == 0 || row_blocks >= 8 * threads;
      const int64_t cuts = even ? 1 : std::min(threads, of_block), tasks = row_blocks * cuts;
      const int64_t used = std::min(threads, tasks);
      parallel_for(0, used, 1, [&](int64_t begin, int64_t end) {
        char* workspace = packed + (panels + begin) * bytes;
        int64_t task = tasks * begin / used;
        const int64_t last_task = tasks * end / used;
        while (task < last_task) {
          const int64_t cut = task % cuts, row = task / cuts;
          const int64_t count = cuts == 1 ? last_task - task : 1;  // without cuts all in one call
          left.include(amx::split_multiply<kSplitParts>(
              p, block, packed, row * kSplitRows, std::min((row + count) * kSplitRows, p.rows),
              of_block * cut / cuts, of_block * (cut + 1) / cuts, workspace));
          task += count;
        }
      });
    }
  }
  return amx::split_is_exact(left.get(), right.get(), p.depth);
}

bool split_product(const Tensor& y, const OptionalTensor& sums, const Tensor& left,
                   const Tensor& right, const OptionalTensor& bias, bool add) {
  const Checks check("split_product_", "left", left);
  const Operand a = operand(check, "left", left, 0), b = operand(check, "right", right, 1);
  const int64_t rows = left.size(0), columns = right.size(1), depth = left.size(1);
  check.that(right.size(0) == depth, "right must have ", depth, " rows, got ", right.size(0));
  check.tensor("y", y, ScalarType::Float, {rows, columns});
  check.tensor("bias", bias, ScalarType::Float, {columns});
  check.tensor("sums", sums, ScalarType::Float, {rows});
  check.that(!sums.has_value() || a.free == 1, "sums needs a left matrix whose columns are plain");
  check.that(!add || !bias.has_value(), "bias must be None with add");
  check.apart({{"y", y}}, {{"left", left}, {"right", right}});
  if (rows == 0 || columns == 0 || depth == 0 || !cpu_has_tiles()) return false;
  const Params params{a,
                      b,
                      rows,
                      columns,
                      depth,
                      data<float>(y),
                      data_or_null<const float>(bias),
                      data_or_null<float>(sums),
                      add};
  // What is added to must not be touched in vain; else looking while packing costs less.
  return (!add || is_exact(params)) && run(params);
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("split_product_", TORCH_BOX(&lexforge::split_product));
}
