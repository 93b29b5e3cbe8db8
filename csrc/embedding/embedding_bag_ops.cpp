// CPU binding of embedding_bag.h.
#include <vector>

#include "common/cpu_binding.h"
#include "common/owned_groups.h"
#include "embedding/embedding_bag_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kNumbersPerTask = 8192;

int64_t rows_per_task(int64_t dim) {
  return std::max<int64_t>(1, kNumbersPerTask / std::max<int64_t>(1, dim));
}

// kernel(first group, last, memory) on torch's threads, in tasks of even cost (row_groups.h).
template <typename Begin, typename Kernel>
void groups_with_scratch(const char* op, const Begin& begin, int64_t count, int64_t dim,
                         int64_t bytes, const Kernel& kernel) {
  constexpr int64_t kCostPerGroup = 1;  // of one without members, in rows
  parallel_with_scratch(op, group_cost(begin, count, kCostPerGroup), rows_per_task(dim), bytes,
                        [&](int64_t first, int64_t last, void* memory) {
                          kernel(group_at(begin, count, kCostPerGroup, first),
                                 group_at(begin, count, kCostPerGroup, last), memory);
                        });
}

// The bag of each id that is in one.
std::vector<int32_t> bag_of_ids(const Bags& bags) {
  std::vector<int32_t> bag(bags[bags.count]);
  for (int64_t b = 0; b < bags.count; ++b) {
    std::fill(bag.begin() + bags[b], bag.begin() + bags[b + 1], static_cast<int32_t>(b));
  }
  return bag;
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t, typename stat_t>
  void run(const EmbeddingBagParams<scalar_t, stat_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE(embedding_bag<scalar_t, stat_t>);
    auto* workspace = LEXFORGE_CHOOSE(embedding_bag_workspace<stat_t>);
    groups_with_scratch(
        "embedding_bag", params.bags, params.bags.count, params.dim, workspace(params.dim),
        [&](int64_t first, int64_t last, void* memory) { kernel(params, first, last, memory); });
  }

  template <typename scalar_t, typename stat_t>
  void run(const EmbeddingBagWeightsParams<scalar_t, stat_t>& params) const {
    auto* kernel = LEXFORGE_CHOOSE(embedding_bag_weights<scalar_t, stat_t>);
    groups_with_scratch("embedding_bag_weights_backward", params.bags, params.bags.count,
                        params.dim, 0,
                        [&](int64_t first, int64_t last, void*) { kernel(params, first, last); });
  }

  template <typename scalar_t, typename stat_t>
  void sum_by_row(BagGradient<scalar_t, stat_t> gradient, const Bags& bags, BagMode mode,
                  bool by_frequency, const Tensor& /*ids*/, const Tensor& grad) const {
    const OwnedGroups owned(bags.ids, bags[bags.count], grad.size(0), false,
                            [&](int64_t i) { return bags.ids[i] != bags.padding; });
    const RowGroups& groups = owned.groups;
    // A page of 4 KB for each row, or all of it on huge ones, whose zeros cost a tenth of that.
    constexpr int64_t kPage = 4096, kCheaper = 10;
    const auto bytes = grad.numel() * static_cast<int64_t>(grad.element_size());
    if (groups.count * kPage > bytes / kCheaper) on_huge_pages(grad);
    std::vector<int32_t> bag;
    if (mode != BagMode::kLookup) {
      bag = bag_of_ids(bags);
      gradient.bag = bag.data();
    }
    const CutGroups cut(groups.begin, groups.count, kBagPart,
                        [&](int64_t g) { return groups.rows[g]; });
    const Tensor partial =
        new_empty(grad, {static_cast<int64_t>(cut.parts.size()), gradient.dim}, kType<stat_t>);
    std::vector<stat_t> factor, long_factor;
    if (by_frequency) {
      factor.resize(cut.sums());
      for (int64_t j = 0; j < cut.sums(); ++j) {
        factor[j] = 1 / static_cast<stat_t>(cut.begin[j + 1] - cut.begin[j]);
      }
      // Only groups of more than a part are cut: their numbers are in the order of the long sums.
      for (int64_t g = 0; g < groups.count; ++g) {
        const int32_t count = groups.begin[g + 1] - groups.begin[g];
        if (count > kBagPart) long_factor.push_back(1 / static_cast<stat_t>(count));
      }
    }
    const auto factors = [&](const std::vector<stat_t>& of) {
      return by_frequency ? of.data() : nullptr;
    };
    run_sums(EmbeddingBagSums<scalar_t, scalar_t, stat_t>{gradient, owned.members.data(),
                                                          cut.begin.data(), cut.target.data(),
                                                          factors(factor), data<scalar_t>(grad),
                                                          data<stat_t>(partial)},
             cut.sums());
    const BagGradient<stat_t, stat_t> rows{
        data<const stat_t>(partial), nullptr, nullptr, nullptr, nullptr, gradient.dim};
    run_sums(
        EmbeddingBagSums<stat_t, scalar_t, stat_t>{rows, cut.parts.data(), cut.long_begin.data(),
                                                   cut.long_target.data(), factors(long_factor),
                                                   data<scalar_t>(grad), nullptr},
        cut.long_sums());
  }

  template <typename scalar_t>
  void run(const EmbeddingRenormParams<scalar_t>& params, const Tensor& ids, int64_t rows) const {
    auto* kernel = LEXFORGE_CHOOSE(embedding_renorm<scalar_t>);
    const OwnedGroups owned(data<const int32_t>(ids), ids.size(0), rows, false,
                            [](int64_t) { return true; });
    parallel_for(
        0, owned.groups.count, rows_per_task(params.dim),
        [&](int64_t first, int64_t last) { kernel(params, owned.groups.rows, first, last); });
  }

 private:
  template <typename from_t, typename to_t, typename stat_t>
  static void run_sums(const EmbeddingBagSums<from_t, to_t, stat_t>& sums, int64_t count) {
    auto* kernel = LEXFORGE_CHOOSE(embedding_bag_sums<from_t, to_t, stat_t>);
    auto* workspace = LEXFORGE_CHOOSE(embedding_bag_workspace<stat_t>);
    const int64_t dim = sums.gradient.dim;
    groups_with_scratch(
        "embedding_bag_backward", sums.begin, count, dim, workspace(dim),
        [&](int64_t first, int64_t last, void* memory) { kernel(sums, first, last, memory); });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  using namespace lexforge;
  m.impl("embedding_bag", TORCH_BOX(&embedding_bag<Cpu>));
  m.impl("embedding_bag_backward", TORCH_BOX(&embedding_bag_backward<Cpu>));
  m.impl("embedding_bag_weights_backward", TORCH_BOX(&embedding_bag_weights_backward<Cpu>));
  m.impl("embedding_renorm_", TORCH_BOX(&embedding_renorm_<Cpu>));
}
