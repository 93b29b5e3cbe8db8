// CPU binding of row_update.h.
#include <atomic>
#include <vector>

#include "common/cpu_binding.h"
#include "common/flush_denormals.h"
#include "common/owned_groups.h"
#include "embedding/row_update_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 8192;
constexpr int64_t kCostPerRow = 4;  // of a row's step, against adding one occurrence
constexpr int64_t kRowsPerBlock = 4096;

// The parts of long groups, and where work of even cost begins.
struct Parts {
  std::vector<int32_t> begin, first, last, cost;

  explicit Parts(const RowGroups& groups) : begin(groups.count + 1), cost(groups.count + 1) {
    for (int64_t g = 0; g < groups.count; ++g) {
      const int32_t from = groups.begin[g], to = groups.begin[g + 1];
      begin[g] = static_cast<int32_t>(first.size());
      if (to - from > kRowPart) {
        for (int64_t m = from; m < to; m += kRowPart) {
          first.push_back(static_cast<int32_t>(m));
          last.push_back(static_cast<int32_t>(std::min<int64_t>(m + kRowPart, to)));
        }
      }
      const auto parts = static_cast<int32_t>(first.size()) - begin[g];
      cost[g + 1] = cost[g] + (parts > 0 ? parts : to - from);
    }
    begin[groups.count] = static_cast<int32_t>(first.size());
  }
};

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t, typename stat_t>
  void run(const RowUpdateParams<scalar_t, stat_t>& params, const Tensor& weight,
           const Tensor& ids) const {
    const OwnedGroups owned(data<const int32_t>(ids), ids.numel(), params.rows, false,
                            [](int64_t) { return true; });
    const RowGroups& groups = owned.groups;
    const Parts parts(groups);
    const auto count = static_cast<int64_t>(parts.first.size());
    const Tensor partial = new_empty(weight, {count, params.dim}, kType<stat_t>);
    const RowUpdateGroups<stat_t> of{groups, parts.begin.data(), parts.first.data(),
                                     parts.last.data(), data<stat_t>(partial)};
    const int64_t grain = std::max<int64_t>(1, kNumbersPerTask / params.dim);

    auto* sum_parts = LEXFORGE_CHOOSE(row_update_parts<scalar_t, stat_t>);
    parallel_for(0, count, (grain + kRowPart - 1) / kRowPart, [&](int64_t first, int64_t last) {
      const FlushDenormals flush;
      sum_parts(params, of, first, last);
    });

    auto* update_groups = LEXFORGE_CHOOSE(row_update_groups<scalar_t, stat_t>);
    // A row for each thread, before anything is written.
    const auto bytes = params.dim * static_cast<int64_t>(sizeof(stat_t));
    std::atomic<bool> out_of_memory{false};
    for_groups(parts.cost.data(), groups.count, kCostPerRow, grain,
               [&](int64_t first, int64_t last) {
                 const FlushDenormals flush;
                 if (const Scratch sum = new_scratch(bytes)) {
                   update_groups(params, of, first, last, static_cast<stat_t*>(sum.get()));
                 } else {
                   out_of_memory = true;
                 }
               });
    if (out_of_memory) fail("row_update_: no memory for a row of ", bytes, " bytes");
    if (params.touched != nullptr) update_rest(params);
  }

 private:
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
