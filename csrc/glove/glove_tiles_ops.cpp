// glove_deal_parts and glove_tiles (contract: glove_tiles.h): host code for every device.
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "common/cpu_binding.h"
#include "common/philox.h"
#include "glove/glove_tiles.h"

namespace lexforge {
namespace {

constexpr int64_t kMaxParts = 1 << 16;  // of which the square is the number of tiles

enum Slot : uint32_t { kDealWords = 0, kDealParts = 1, kRows = 2, kEntries = 3 };

// The random word of each position of a slot; neighbours share a quad.
class TileWords {
 public:
  TileWords(uint64_t seed, Slot slot) : seed_(seed), slot_(slot) {}

  uint32_t at(int64_t position) {
    const uint64_t quad = static_cast<uint64_t>(position) >> 2;
    if (quad != held_) {
      words_ = philox_at(seed_, 0, quad, RandomStream::kTiles, slot_);
      held_ = quad;
    }
    return words_.word[position & 3];
  }

 private:
  uint64_t seed_;
  Slot slot_;
  uint64_t held_ = ~uint64_t{0};
  PhiloxQuad words_{};
};

Tensor glove_deal_parts(const Tensor& row_sizes, int64_t parts, int64_t seed) {
  const Checks check("glove_deal_parts", "row_sizes", row_sizes);
  check.tensor("row_sizes", row_sizes, ScalarType::Long, {Checks::kAny});
  const int64_t words = row_sizes.size(0);
  check.that(words <= INT32_MAX, "row_sizes must have fewer than 2^31 elements");
  check.that(parts >= 1 && parts <= kMaxParts, "parts must be in [1, ", kMaxParts, "], got ",
             parts);
  const int64_t* size = data<const int64_t>(row_sizes);

  TileWords word_luck(static_cast<uint64_t>(seed), kDealWords);
  std::vector<std::pair<uint32_t, int32_t>> order(static_cast<size_t>(words));
  for (int64_t i = 0; i < words; ++i) order[i] = {word_luck.at(i), static_cast<int32_t>(i)};
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return size[a.second] != size[b.second] ? size[a.second] > size[b.second] : a < b;
  });

  Tensor result = torch::stable::empty({words}, ScalarType::Int);
  int32_t* part = data<int32_t>(result);
  struct Load {
    int64_t entries;
    uint32_t luck;
    int32_t part;
  };
  std::vector<Load> loads(static_cast<size_t>(parts));
  for (int64_t p = 0; p < parts; ++p) loads[p] = {0, 0, static_cast<int32_t>(p)};
  TileWords part_luck(static_cast<uint64_t>(seed), kDealParts);
  for (int64_t first = 0; first < words; first += parts) {
    for (Load& load : loads) load.luck = part_luck.at(first + load.part);
    std::sort(loads.begin(), loads.end(), [](const Load& a, const Load& b) {
      return std::tie(a.entries, a.luck, a.part) < std::tie(b.entries, b.luck, b.part);
    });
    for (int64_t i = first; i < std::min(first + parts, words); ++i) {
      Load& load = loads[i - first];
      part[order[i].second] = load.part;
      load.entries += size[order[i].second];
    }
  }
  return result;
}

// The first entry that cannot be used, by number.
class FirstProblem {
 public:
  void report(int64_t entry, GloveTilesProblem problem) {
    // Two low bits hold the kind, so the smallest code is the first entry.
    const int64_t code = entry * 4 + static_cast<int64_t>(problem);
    int64_t known = code_.load();
    while (code < known && !code_.compare_exchange_weak(known, code)) {
    }
  }
  bool found() const { return code_ != INT64_MAX; }
  int64_t entry() const { return code_ / 4; }
  int64_t problem() const { return found() ? code_ % 4 : 0; }

 private:
  std::atomic<int64_t> code_{INT64_MAX};
};

// Rows of each part of the range, in training order: rows[begin[p - first_part]] on.
struct PartRows {
  std::vector<int64_t> begin;
  std::vector<int32_t> rows;

  explicit PartRows(const GloveTilesParams& params)
      : begin(static_cast<size_t>(params.last_part - params.first_part + 1), 0) {
    const int64_t first = params.first_part, last = params.last_part;
    const auto within = [&](int64_t row) {
      return params.part[row] >= first && params.part[row] < last &&
             params.row_begin[row] < params.row_begin[row + 1];
    };
    for (int64_t row = 0; row < params.vocab_size; ++row) {
      if (within(row)) ++begin[params.part[row] - first + 1];
    }
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    TileWords luck(params.seed, kRows);
    std::vector<std::pair<uint32_t, int32_t>> keyed(static_cast<size_t>(begin.back()));
    std::vector<int64_t> next(begin.begin(), begin.end() - 1);
    for (int64_t row = 0; row < params.vocab_size; ++row) {
      if (!within(row)) continue;
      keyed[next[params.part[row] - first]++] = {luck.at(row), static_cast<int32_t>(row)};
    }
    for (size_t p = 0; p + 1 < begin.size(); ++p) {
      std::sort(keyed.begin() + begin[p], keyed.begin() + begin[p + 1]);
    }
    rows.reserve(keyed.size());
    for (const auto& [word, row] : keyed) rows.push_back(row);
  }
};

// Entries and segments of the tiles (p, 0 .. P - 1), by column part.
struct TileSizes {
  std::vector<int64_t> entries, segments;
};

class TileWriter {
 public:
  TileWriter(const GloveTilesParams& params, const PartRows& rows, FirstProblem& problem)
      : params_(params), rows_(rows), problem_(problem) {}

  // Counts the tiles of row part p into entries[q] and segments[q].
  void count(int64_t p, int64_t* entries, int64_t* segments) const {
    std::vector<int32_t> seen(static_cast<size_t>(params_.parts), -1);  // last row with an entry
    for_rows(p, [&](int32_t row, int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {
        const int32_t column = params_.cols[e * params_.col_stride];
        const double x = params_.values[e * params_.value_stride];
        if (column < 0 || column >= params_.vocab_size) {
          problem_.report(e, GloveTilesProblem::kColumn);
          return;
        }
        if (!(x > 0) || !std::isfinite(x)) {
          problem_.report(e, GloveTilesProblem::kValue);
          return;
        }
        const int32_t q = params_.part[column];
        ++entries[q];
        segments[q] += seen[q] != row;
        seen[q] = row;
      }
    });
  }

  // Writes the tiles of row part p: those of column part q from segment[q] and entry[q] on.
  void write(int64_t p, int64_t* segment, int64_t* entry, int32_t* segment_row,
             int64_t* segment_begin, int32_t* column, float* log_count) const {
    std::vector<int32_t> seen(static_cast<size_t>(params_.parts), -1);
    std::vector<std::pair<int32_t, float>> row_entries;
    TileWords luck(params_.seed, kEntries);
    for_rows(p, [&](int32_t row, int64_t begin, int64_t end) {
      row_entries.clear();
      for (int64_t e = begin; e < end; ++e) {
        const double x = params_.values[e * params_.value_stride];
        row_entries.emplace_back(params_.cols[e * params_.col_stride],
                                 static_cast<float>(std::log(x)));
      }
      const int64_t size = end - begin;
      for (int64_t k = 0; k < size; ++k) {
        const uint32_t left = static_cast<uint32_t>(size - k);
        std::swap(row_entries[k], row_entries[k + bounded(luck.at(begin + k), left)]);
        const int32_t q = params_.part[row_entries[k].first];
        if (seen[q] != row) {
          seen[q] = row;
          segment_row[segment[q]] = row;
          segment_begin[segment[q]++] = entry[q];
        }
        column[entry[q]] = row_entries[k].first;
        log_count[entry[q]++] = row_entries[k].second;
      }
    });
  }

 private:
  template <typename Visit>
  void for_rows(int64_t p, const Visit& visit) const {
    const int64_t index = p - params_.first_part;
    for (int64_t i = rows_.begin[index]; i < rows_.begin[index + 1]; ++i) {
      const int32_t row = rows_.rows[i];
      visit(row, params_.row_begin[row], params_.row_begin[row + 1]);
    }
  }

  const GloveTilesParams& params_;
  const PartRows& rows_;
  FirstProblem& problem_;
};

void check_rows(const Checks& check, const GloveTilesParams& params, int64_t entries) {
  const int64_t* begin = params.row_begin;
  check.that(begin[0] == 0 && begin[params.vocab_size] == entries, "row_begin must rise from 0 to ",
             entries);
  for (int64_t row = 0; row < params.vocab_size; ++row) {
    check.that(begin[row] <= begin[row + 1] && begin[row + 1] - begin[row] <= UINT32_MAX,
               "row_begin must rise, got ", begin[row], " and ", begin[row + 1], " at row ", row);
    check.that(params.part[row] >= 0 && params.part[row] < params.parts, "part must be in [0, ",
               params.parts, "), got ", params.part[row], " at word ", row);
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, int64_t, int64_t> glove_tiles(
    const Tensor& row_begin, const Tensor& cols, const Tensor& values, const Tensor& part,
    int64_t parts, int64_t first_part, int64_t last_part, int64_t seed, int64_t threads) {
  const Checks check("glove_tiles", "row_begin", row_begin);
  check.tensor("part", part, ScalarType::Int, {Checks::kAny});
  const int64_t vocab_size = part.size(0);
  check.tensor("row_begin", row_begin, ScalarType::Long, {vocab_size + 1});
  check.that(cols.scalar_type() == ScalarType::Int && cols.dim() == 1, "cols must be int32 [nnz]");
  check.that(values.scalar_type() == ScalarType::Double && values.sizes() == cols.sizes(),
             "values must be float64 [", cols.size(0), "]");
  check.device("cols", cols);
  check.device("values", values);
  check.that(vocab_size <= INT32_MAX, "part must have fewer than 2^31 elements");
  check.that(1 <= parts && parts <= std::max<int64_t>(1, vocab_size), "parts must be in [1, ",
             vocab_size, "], got ", parts);
  check.range("first_part and last_part", first_part, last_part, parts);
  check.threads(threads);
  const GloveTilesParams params{
      .row_begin = data<const int64_t>(row_begin),
      .cols = data<const int32_t>(cols),
      .values = data<const double>(values),
      .part = data<const int32_t>(part),
      .col_stride = cols.stride(0),
      .value_stride = values.stride(0),
      .vocab_size = vocab_size,
      .parts = parts,
      .first_part = first_part,
      .last_part = last_part,
      .seed = static_cast<uint64_t>(seed),
  };
  check_rows(check, params, cols.size(0));

  const PartRows rows(params);
  FirstProblem problem;
  const TileWriter writer(params, rows, problem);
  const int64_t range = last_part - first_part, tiles = range * parts;
  // By row part and column part; then, shifted to training order, where each tile begins.
  std::vector<int64_t> entries(static_cast<size_t>(tiles), 0), segments(entries);
  const auto for_parts = [&](const auto& work) {
    std::atomic<int64_t> next{0};
    parallel_for(0, threads, 1, [&](int64_t, int64_t) {
      for (int64_t p; (p = next.fetch_add(1)) < range;) work(p);
    });
  };
  for_parts(
      [&](int64_t p) { writer.count(first_part + p, &entries[p * parts], &segments[p * parts]); });
  Tensor tile_begin = torch::stable::empty({tiles + 1}, ScalarType::Long);
  int64_t entry = 0, segment = 0;
  for (int64_t p = 0; p < range; ++p) {
    for (int64_t round = 0; round < parts; ++round) {
      const int64_t at = p * parts + (first_part + p + round) % parts;
      data<int64_t>(tile_begin)[p * parts + round] = segment;
      entry += std::exchange(entries[at], entry);
      segment += std::exchange(segments[at], segment);
    }
  }
  data<int64_t>(tile_begin)[tiles] = segment;
  if (problem.found()) entry = segment = 0;
  Tensor segment_row = torch::stable::empty({segment}, ScalarType::Int);
  Tensor segment_begin = torch::stable::empty({segment + 1}, ScalarType::Long);
  Tensor column = torch::stable::empty({entry}, ScalarType::Int);
  Tensor log_count = torch::stable::empty({entry}, ScalarType::Float);
  data<int64_t>(segment_begin)[segment] = entry;
  if (!problem.found()) {
    for_parts([&](int64_t p) {
      writer.write(first_part + p, &segments[p * parts], &entries[p * parts],
                   data<int32_t>(segment_row), data<int64_t>(segment_begin), data<int32_t>(column),
                   data<float>(log_count));
    });
  }
  return {tile_begin,
          segment_row,
          segment_begin,
          column,
          log_count,
          problem.problem(),
          problem.found() ? problem.entry() : 0};
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("glove_deal_parts", TORCH_BOX(&lexforge::glove_deal_parts));
  m.impl("glove_tiles", TORCH_BOX(&lexforge::glove_tiles));
}
