// CPU binding of embedding_sum.h.
#include <vector>

#include "common/cpu_binding.h"
#include "common/owned_groups.h"
#include "transformer/embedding_sum_binding.h"
#include "transformer/group_sums.h"

namespace lexforge {
namespace {

constexpr int64_t kRowsPerGroup = 64;
constexpr int64_t kNumbersPerTask = 8192;
constexpr int64_t kCostPerSum = 1;  // of the sum of no rows, in rows

int64_t rows_per_task(int64_t width) { return std::max<int64_t>(1, kNumbersPerTask / width); }

template <typename from_t, typename stat_t>
void run_sums(const EmbeddingGradSums<from_t, stat_t>& sums, int64_t count) {
  auto* kernel = LEXFORGE_CHOOSE(embedding_grad_sums<from_t, stat_t>);
  for_groups(sums.begin, count, kCostPerSum, rows_per_task(sums.width),
             [&](int64_t first, int64_t last) { kernel(sums, first, last); });
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  static int64_t rows_per_group(int64_t /*count*/) { return kRowsPerGroup; }

  template <typename out_t, typename stat_t>
  void run(const EmbeddingSumParams<out_t, stat_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE(embedding_sum<out_t, stat_t>);
    auto* workspace = LEXFORGE_CHOOSE(embedding_workspace<stat_t>);
    const int64_t width = params.rows.width;
    parallel_with_scratch(
        "embedding_sum", params.rows.count, rows_per_task(width), workspace(width),
        [&](int64_t first, int64_t last, void* memory) { kernel(params, first, last, memory); });
  }

  template <typename out_t, typename stat_t>
  void run(const EmbeddingSumBackwardParams<out_t, stat_t>& params,
           const EmbeddingGradients* norm) const {
    auto* kernel = LEXFORGE_CHOOSE(embedding_sum_backward<out_t, stat_t>);
    auto* workspace = LEXFORGE_CHOOSE(embedding_workspace<stat_t>);
    const int64_t width = params.rows.width;
    const int64_t groups = (params.rows.count + kRowsPerGroup - 1) / kRowsPerGroup;
    parallel_with_scratch(
        "embedding_sum_backward", groups,
        (rows_per_task(width) + kRowsPerGroup - 1) / kRowsPerGroup, workspace(width),
        [&](int64_t first, int64_t last, void* memory) { kernel(params, first, last, memory); });
    if (norm == nullptr) return;
    const int64_t columns = std::max<int64_t>(64, kNumbersPerTask / std::max<int64_t>(1, groups));
    parallel_for(0, width, columns, [&](int64_t first, int64_t last) {
      sum_groups(params.partial, groups, 2 * width, first, last, data<stat_t>(norm->weight));
      sum_groups(params.partial + width, groups, 2 * width, first, last, data<stat_t>(norm->bias));
    });
  }

  // The gradient of a table, every row of which is written: the sum of the rows of `from` [T, H]
  // that have its id, in parts of kEmbeddingPart.
  template <typename from_t, typename stat_t>
  void table_gradient(const from_t* from, const Tensor& ids, const Tensor& grad,
                      bool /*may_be_long*/) const {
    const int64_t count = ids.size(0), rows = grad.size(0), width = grad.size(1);
    const auto* id = data<const int32_t>(ids);
    // Counting sort: row r is members[row_begin[r] .. row_begin[r + 1]).
    std::vector<int32_t> row_begin(rows + 1), members(count);
    for (int64_t t = 0; t < count; ++t) ++row_begin[id[t]];
    for (int64_t r = 0, total = 0; r <= rows; ++r) {
      total += row_begin[r];
      row_begin[r] = static_cast<int32_t>(total);  // the end of the row, which filling moves back
    }
    for (int64_t t = count - 1; t >= 0; --t) members[--row_begin[id[t]]] = static_cast<int32_t>(t);

    const CutGroups cut(row_begin.data(), rows, kEmbeddingPart, [](int64_t r) { return r; });
    const Tensor partial = new_empty(grad, {static_cast<int64_t>(cut.parts.size()), width});
    run_sums(
        EmbeddingGradSums<from_t, stat_t>{from, members.data(), cut.begin.data(), cut.target.data(),
                                          width, data<stat_t>(grad), data<stat_t>(partial)},
        cut.sums());
    run_sums(EmbeddingGradSums<stat_t, stat_t>{data<stat_t>(partial), cut.parts.data(),
                                               cut.long_begin.data(), cut.long_target.data(), width,
                                               data<stat_t>(grad), nullptr},
             cut.long_sums());
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("embedding_sum", TORCH_BOX(&lexforge::embedding_sum<lexforge::Cpu>));
  m.impl("embedding_sum_backward", TORCH_BOX(&lexforge::embedding_sum_backward<lexforge::Cpu>));
}
