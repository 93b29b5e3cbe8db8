#include "text/line_predictor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "text/threads.h"

namespace lexforge::text {
namespace {

constexpr double kFloor = 1e-5;  // is added to what logarithms are taken of
// A probability of a tree may rise by the floor at each of up to 90 turns.
constexpr float kSlack = 1e-3F;

// `better` for heaps: the worst of those kept is on top.
constexpr auto kBetter = [](const auto& a, const auto& b) {
  return a.probability > b.probability || (a.probability == b.probability && a.number > b.number);
};

// What the original has in its table.
float looked_up(float score) {
  static const auto table = [] {
    std::array<float, 513> values{};
    for (int i = 0; i <= 512; ++i) {
      values[i] = static_cast<float>(1 / (1 + std::exp(8 - i / 32.0)));
    }
    return values;
  }();
  if (score < -8) return 0;
  if (score > 8) return 1;
  return std::isnan(score) ? score : table[static_cast<int>((score + 8) * 32)];
}

}  // namespace

LinePredictor::LinePredictor(const LineFeatures& features, const MatrixRows& input,
                             const MatrixRows& output, Loss loss, const int64_t* path_offsets,
                             const int32_t* path_nodes, bool exact)
    : features_(features), input_(input), output_(output), loss_(loss), exact_(exact) {
  const int64_t labels = output.rows;
  if (labels < 1 || labels != features.labels()) {
    throw std::invalid_argument("the output must have a row for each of " +
                                std::to_string(features.labels()) + " labels, got " +
                                std::to_string(labels));
  }
  if (input.rows < features.rows()) {
    throw std::invalid_argument("the input must have " + std::to_string(features.rows()) +
                                " rows, got " + std::to_string(input.rows));
  }
  if (output.dim != input.dim) throw std::invalid_argument("input and output must be as wide");
  if (loss != Loss::kTree || labels == 1) return;
  children_.resize(2 * (labels - 1));
  for (int64_t label = 0; label < labels; ++label) {
    for (int64_t at = path_offsets[label]; at < path_offsets[label + 1]; ++at) {
      const bool last = at + 1 == path_offsets[label + 1];
      children_[path_nodes[at]] = last ? static_cast<int32_t>(-1 - label) : path_nodes[at + 1] >> 1;
    }
  }
}

float LinePredictor::told(float probability) const {
  if (exact_) return probability;
  return std::exp(static_cast<float>(std::log(static_cast<double>(probability) + kFloor)));
}

void LinePredictor::best_of(std::span<const float> scores, int64_t k, float threshold,
                            Room& room) const {
  const auto labels = static_cast<int64_t>(scores.size());
  float largest = scores[0], sum = 0;
  if (loss_ == Loss::kSoftmax) {
    for (const float score : scores) largest = std::max(largest, score);
    for (const float score : scores) sum += std::exp(score - largest);
  }
  for (int64_t label = 0; label < labels; ++label) {
    const float score = scores[label];
    const float probability = loss_ == Loss::kSoftmax ? std::exp(score - largest) / sum
                              : exact_                ? 1 / (1 + std::exp(-score))
                                                      : looked_up(score);
    if (!(probability >= threshold)) continue;  // nor one that is no number
    const Label found{probability, static_cast<int32_t>(label)};
    if (static_cast<int64_t>(room.best.size()) == k) {
      if (!kBetter(found, room.best.front())) continue;
      std::pop_heap(room.best.begin(), room.best.end(), kBetter);
      room.best.back() = found;
    } else {
      room.best.push_back(found);
    }
    std::push_heap(room.best.begin(), room.best.end(), kBetter);
  }
  std::sort_heap(room.best.begin(), room.best.end(), kBetter);
  for (Label& each : room.best) each.probability = told(each.probability);
}

void LinePredictor::descend(const float* input, int32_t node, float log_probability, int64_t k,
                            float log_threshold, Room& room) const {
  const bool full = static_cast<int64_t>(room.best.size()) == k;
  if (!(log_probability + kSlack >= log_threshold)) return;
  if (full && log_probability + kSlack < room.best.front().probability) return;
  if (node < 0) {
    const Label found{log_probability, -1 - node};
    if (!(log_probability >= log_threshold)) return;
    if (full && !kBetter(found, room.best.front())) return;
    if (full) {
      std::pop_heap(room.best.begin(), room.best.end(), kBetter);
      room.best.back() = found;
    } else {
      room.best.push_back(found);
    }
    std::push_heap(room.best.begin(), room.best.end(), kBetter);
    return;
  }
  const double score = output_.dot(node, input);
  const auto turn = [&](bool right) {
    const double signed_score = right ? score : -score;
    if (exact_) return static_cast<float>(-std::log1p(std::exp(-signed_score)));
    const auto share = static_cast<float>(1 / (1 + std::exp(-signed_score)));
    return static_cast<float>(std::log(share + kFloor));
  };
  for (const bool right : {score >= 0, score < 0}) {  // the likelier turn first
    descend(input, children_[2 * node + right], log_probability + turn(right), k, log_threshold,
            room);
  }
}

void LinePredictor::best_of_tree(const float* input, int64_t k, float threshold, Room& room) const {
  if (output_.rows == 1) {
    if (threshold <= 1) room.best.push_back({1, 0});
    return;
  }
  const float log_threshold = threshold > 0 ? std::log(threshold) : -INFINITY;
  descend(input, static_cast<int32_t>(output_.rows - 2), 0, k, log_threshold, room);
  std::sort_heap(room.best.begin(), room.best.end(), kBetter);
  for (Label& each : room.best) each.probability = std::exp(each.probability);
}

void LinePredictor::one_line(const float* input, const float* scores, int64_t k, float threshold,
                             Room& room) const {
  if (loss_ == Loss::kTree) return best_of_tree(input, k, threshold, room);
  if (scores == nullptr) {
    room.scores.resize(output_.rows);
    for (int64_t label = 0; label < output_.rows; ++label) {
      room.scores[label] = output_.dot(label, input);
    }
    scores = room.scores.data();
  }
  best_of({scores, static_cast<size_t>(output_.rows)}, k, threshold, room);
}

namespace {

// Lines begins[p] .. begins[p + 1] are part p's; each has about as many rows as another.
std::vector<int64_t> parts_of(std::span<const int64_t> row_ends, int64_t per_row, int64_t per_line,
                              int threads) {
  constexpr int64_t kLeast = 1 << 18;  // numbers that are worth a thread
  const auto lines = static_cast<int64_t>(row_ends.size()) - 1;
  const auto work = [&](int64_t line) { return row_ends[line] * per_row + line * per_line; };
  const int64_t parts = std::clamp<int64_t>(work(lines) / kLeast, 1, std::max(threads, 1));
  std::vector<int64_t> begins{0};
  for (int64_t part = 1; part < parts; ++part) {
    int64_t line = begins.back();
    while (line < lines && work(line) < work(lines) / parts * part) ++line;
    begins.push_back(line);
  }
  begins.push_back(lines);
  return begins;
}

}  // namespace

void LinePredictor::hidden(std::span<const int64_t> row_ends, const int32_t* rows, float* hidden,
                           int threads) const {
  const auto begins = parts_of(row_ends, input_.dim, input_.dim, threads);
  run_parts(static_cast<int64_t>(begins.size()) - 1, [&](int64_t part) {
    for (int64_t line = begins[part]; line < begins[part + 1]; ++line) {
      const int64_t begin = row_ends[line];
      input_.mean(rows + begin, row_ends[line + 1] - begin, hidden + line * input_.dim);
    }
  });
}

LinePredictor::Found LinePredictor::predict(std::span<const int64_t> row_ends, const int32_t* rows,
                                            const float* inputs, const float* scores, int64_t k,
                                            float threshold, int threads) const {
  const bool known = inputs != nullptr || scores != nullptr;
  const int64_t of_scores = output_.rows * (scores == nullptr ? output_.dim : 1);
  const auto begins = parts_of(row_ends, known ? 0 : input_.dim, of_scores, threads);
  const auto parts = static_cast<int64_t>(begins.size()) - 1;
  std::vector<Found> found(parts);
  run_parts(parts, [&](int64_t part) {
    Room room{std::vector<float>(input_.dim), {}, {}};
    for (int64_t line = begins[part]; line < begins[part + 1]; ++line) {
      const int64_t begin = row_ends[line];
      const int64_t count = row_ends[line + 1] - begin;
      room.best.clear();
      if (count > 0) {
        const float* input = known ? inputs + line * input_.dim : room.hidden.data();
        if (!known) input_.mean(rows + begin, count, room.hidden.data());
        one_line(input, scores == nullptr ? nullptr : scores + line * output_.rows, k, threshold,
                 room);
      }
      for (const Label& each : room.best) {
        found[part].labels.push_back(each.number);
        found[part].probabilities.push_back(each.probability);
      }
      found[part].ends.push_back(static_cast<int64_t>(found[part].labels.size()));
    }
  });
  Found all = std::move(found[0]);
  for (int64_t part = 1; part < parts; ++part) {
    const Found& more = found[part];
    const int64_t before = all.ends.back();
    for (size_t i = 1; i < more.ends.size(); ++i) all.ends.push_back(before + more.ends[i]);
    all.labels.insert(all.labels.end(), more.labels.begin(), more.labels.end());
    all.probabilities.insert(all.probabilities.end(), more.probabilities.begin(),
                             more.probabilities.end());
  }
  return all;
}

void LinePredictor::hidden(std::string_view text, float* hidden) const {
  const auto lines = features_.read(text, true, 1);
  const int64_t count = lines.row_ends.size() > 1 ? lines.row_ends[1] : 0;
  input_.mean(lines.rows.data(), count, hidden);
}

int64_t LinePredictor::predict(std::string_view text, int64_t k, float threshold, int64_t* labels,
                               double* probabilities) const {
  const auto lines = features_.read(text, true, 1);
  Room room{std::vector<float>(input_.dim), {}, {}};
  const int64_t count = lines.row_ends.size() > 1 ? lines.row_ends[1] : 0;
  if (count == 0) return 0;
  input_.mean(lines.rows.data(), count, room.hidden.data());
  one_line(room.hidden.data(), nullptr, k, threshold, room);
  for (const Label& each : room.best) {
    *labels++ = each.number;
    *probabilities++ = each.probability;
  }
  return static_cast<int64_t>(room.best.size());
}

}  // namespace lexforge::text
