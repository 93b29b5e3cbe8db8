// CPU binding of row_update.h.
#include <atomic>

#include "common/cpu_binding.h"
#include "common/flush_denormals.h"
#include "common/owned_groups.h"
#include "embedding/row_update_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 8192;
constexpr int64_t kCostPerRow = 4;  // of a row's step, against adding one occurrence
constexpr int64_t kRowsPerBlock = 4096;

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t, typename stat_t>
  void run(const RowUpdateParams<scalar_t, stat_t>& params, const Tensor& weight,
           const Tensor& ids) const {
    const OwnedGroups owned(data<const int32_t>(ids), ids.numel(), params.rows, false,
                            [](int64_t) { return true; });
    const RowGroups& groups = owned.groups;
    const CutGroups cut(groups.begin, groups.count, kRowPart,
                        [&](int64_t g) { return groups.rows[g]; });
    const Tensor partial =
        new_empty(weight, {static_cast<int64_t>(cut.parts.size()), params.dim}, kType<stat_t>);
    run_sums(params,
             RowUpdateSums<scalar_t, stat_t>{params.gradients, groups.members, cut.begin.data(),
                                             cut.target.data(), cut.sums(), data<stat_t>(partial)});
    run_sums(params, RowUpdateSums<stat_t, stat_t>{data<stat_t>(partial), cut.parts.data(),
                                                   cut.long_begin.data(), cut.long_target.data(),
                                                   cut.long_sums(), nullptr});
    if (params.touched != nullptr) update_rest(params);
  }

 private:
  template <typename from_t, typename scalar_t, typename stat_t>
  static void run_sums(const RowUpdateParams<scalar_t, stat_t>& params,
                       const RowUpdateSums<from_t, stat_t>& sums) {
    auto* kernel = LEXFORGE_CHOOSE(row_update_sums<from_t, scalar_t, stat_t>);
    const auto bytes = params.dim * static_cast<int64_t>(sizeof(stat_t));
    std::atomic<bool> out_of_memory{false};
    for_groups(sums.begin, sums.count, kCostPerRow,
               std::max<int64_t>(1, kNumbersPerTask / params.dim),
               [&](int64_t first, int64_t last) {
                 const FlushDenormals flush;
                 if (const Scratch sum = new_scratch(bytes)) {
                   kernel(params, sums, first, last, static_cast<stat_t*>(sum.get()));
                 } else {
                   out_of_memory = true;
                 }
               });
    if (out_of_memory) fail("row_update_: no memory for a row of ", bytes, " bytes");
  }

  // Threads take blocks as they come: rows that are left alone lie together.
  template <typename scalar_t, typename stat_t>
  static void update_rest(const RowUpdateParams<scalar_t, stat_t>& params) {
    auto* kernel = LEXFORGE_CHOOSE(row_update_rest<scalar_t, stat_t>);
    const int64_t blocks = (params.rows + kRowsPerBlock - 1) / kRowsPerBlock;
    std::atomic<int64_t> next{0};
    parallel_for(0, blocks, 1, [&](int64_t, int64_t) {
      const FlushDenormals flush;
      for (int64_t b; (b = next.fetch_add(1)) < blocks;) {
        const int64_t first = b * kRowsPerBlock;
        kernel(params, first, std::min(first + kRowsPerBlock, params.rows));
      }
    });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("row_update_", TORCH_BOX(&lexforge::row_update<lexforge::Cpu>));
}
