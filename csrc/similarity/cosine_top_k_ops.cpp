// CPU binding of cosine_top_k.h.
#include <cstring>
#include <functional>

#include "common/cpu_binding.h"
#include "similarity/cosine_top_k_binding.h"
#include "similarity/rank.h"

namespace lexforge {
namespace {

// Queries that a row is multiplied by when it comes from memory. They and a block of rows share the
// second-level cache.
constexpr int64_t kMaxQueries = 128;
constexpr int64_t kQueryBytes = 512 << 10;
// Of ranks, unless one query has more.
constexpr int64_t kRankBytes = 64 << 20;
constexpr int64_t kLeastCapacity = 64;
constexpr int64_t kWorkPerPart = 1 << 18;  // multiply-adds

// How queries and rows are cut: as many queries at a time as there is room for, and the rows into
// one part for each thread.
struct Cut {
  int64_t queries, parts, capacity;

  template <typename scalar_t>
  Cut(const CosineTopKParams<scalar_t>& params, int64_t threads) {
    const int64_t rows = params.last - params.first;
    const auto largest = static_cast<double>(threads);
    const double work = static_cast<double>(rows) * params.dim * params.count / kWorkPerPart;
    parts = static_cast<int64_t>(std::clamp(work, 1.0, largest));
    parts = std::clamp<int64_t>(rows, 1, parts);
    const int64_t of_part = (rows + parts - 1) / parts;
    const int64_t wanted = params.k < of_part ? std::max(2 * params.k, kLeastCapacity) : of_part;
    capacity = (std::max<int64_t>(1, std::min(wanted, of_part)) + 7) / 8 * 8;
    queries = std::min({kMaxQueries, kQueryBytes / (padded_dim(params.dim) * 4 + 1),
                        kRankBytes / (parts * capacity * 8 + 1)});
    queries = std::max<int64_t>(1, queries);
    const int64_t batches = (params.count + queries - 1) / queries;  // of one size
    queries = (params.count + batches - 1) / batches;
  }
};

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  void run(const CosineTopKParams<scalar_t>& params, const Tensor&) const {
    const Cut cut(params, torch::stable::get_num_threads());
    const int64_t padded = padded_dim(params.dim), rows = params.last - params.first;
    const int64_t own = baseline::search_workspace(params.dim);  // the same in every build
    float *units = nullptr, *workspaces = nullptr;
    uint64_t* ranks = nullptr;   // [query, part, capacity]
    BestRanks* bests = nullptr;  // [part, query]
    const auto carve = [&](void* memory) {
      Carver carver(memory);
      units = carver.take<float>(cut.queries * padded);
      workspaces = carver.take<float>(cut.parts * own);
      ranks = carver.take<uint64_t>(cut.queries * cut.parts * cut.capacity);
      bests = carver.take<BestRanks>(cut.parts * cut.queries);
      return carver.used();
    };
    const int64_t bytes = carve(nullptr);
    const Scratch memory = new_scratch(bytes);
    if (!memory) fail("cosine_top_k: no memory for a workspace of ", bytes, " bytes");
    carve(memory.get());

    auto* search = LEXFORGE_CHOOSE(search_rows<scalar_t>);
    for (int64_t begin = 0; begin < params.count; begin += cut.queries) {
      const int64_t count = std::min(cut.queries, params.count - begin);
      for (int64_t q = 0; q < count; ++q) {
        write_unit_query(params.queries + (begin + q) * params.dim, params.dim, units + q * padded);
      }
      const UnitQueries queries{units, params.excluded + begin * params.most_excluded, count,
                                padded, params.most_excluded};
      parallel_for(0, cut.parts, 1, [&](int64_t first, int64_t last) {
        for (int64_t p = first; p < last; ++p) {
          BestRanks* best = bests + p * cut.queries;
          for (int64_t q = 0; q < count; ++q) {
            best[q] = {
                ranks + (q * cut.parts + p) * cut.capacity, cut.capacity, 0, kNoRank, 0, false};
          }
          search(params, queries, params.first + rows * p / cut.parts,
                 params.first + rows * (p + 1) / cut.parts, best, workspaces + p * own);
        }
      });
      const int64_t per_task = std::max<int64_t>(1, kLeastCapacity * 64 / cut.capacity);
      parallel_for(0, count, per_task, [&](int64_t first, int64_t last) {
        for (int64_t q = first; q < last; ++q) {
          finish(params, begin + q, bests + q, cut);
        }
      });
    }
  }

  // Joins what the parts have found for a query, and writes it down.
  template <typename scalar_t>
  static void finish(const CosineTopKParams<scalar_t>& params, int64_t q, const BestRanks* of_parts,
                     const Cut& cut) {
    BestRanks best = of_parts[0];
    best.capacity *= cut.parts;
    for (int64_t p = 1; p < cut.parts; ++p) {
      const BestRanks& part = of_parts[p * cut.queries];
      std::copy(part.ranks, part.ranks + part.size, best.ranks + best.size);
      best.size += part.size;
    }
    keep_best(best, params.k);
    std::sort(best.ranks, best.ranks + best.size, std::greater<>());
    int64_t* ids = params.ids + q * params.k;
    float* scores = params.scores + q * params.k;
    for (int64_t i = 0; i < params.k; ++i) {
      const uint64_t rank = i < best.size ? best.ranks[i] : kNoRank;
      ids[i] = row_of(rank);
      scores[i] = score_of(rank);
    }
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("cosine_top_k", TORCH_BOX(&lexforge::cosine_top_k<lexforge::Cpu>));
}
