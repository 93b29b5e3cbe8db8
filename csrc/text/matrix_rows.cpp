#include "text/matrix_rows.h"

#include <algorithm>
#include <array>

namespace lexforge::text {
namespace {

constexpr int64_t kCentroids = 256;
constexpr size_t kAhead = 6;   // rows that are asked for before they are added
constexpr int64_t kLine = 64;  // bytes that come at a time
void add(const AnyFloat* __restrict from, float factor, float* __restrict to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

float product(const AnyFloat* __restrict a, const float* __restrict b, int64_t count) {
  constexpr int64_t kLanes = 16;
  std::array<float, kLanes> sums{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (; i < count; ++i) sums[i % kLanes] += a[i] * b[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

// For each part of sub-vectors where its centroids begin, and the code's one.
template <typename Use>
void each_centroid(const MatrixRows& of, int64_t row, const Use& use) {
  const int64_t parts = (of.dim + of.sub_dim - 1) / of.sub_dim;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = part * of.sub_dim, size = std::min(of.sub_dim, of.dim - begin);
    use(of.centroids + kCentroids * begin + size * of.codes[row * parts + part], begin, size);
  }
}

float norm_of(const MatrixRows& of, int64_t row) {
  return of.norm_codes == nullptr ? 1.0F : of.norm_centroids[of.norm_codes[row]];
}

}  // namespace

void MatrixRows::prefetch(int64_t row) const {
  const auto ask = [](const void* begin, int64_t size) {
    const auto* at = static_cast<const char*>(begin);
    for (int64_t i = 0; i < size; i += kLine) __builtin_prefetch(at + i);
  };
  if (values != nullptr) {
    ask(values + row * stride, dim * static_cast<int64_t>(sizeof(float)));
  } else {
    const int64_t parts = (dim + sub_dim - 1) / sub_dim;
    ask(codes + row * parts, parts);
  }
}

void MatrixRows::add_to(int64_t row, float* sum) const {
  if (values != nullptr) {
    const AnyFloat* from = values + row * stride;
    for (int64_t i = 0; i < dim; ++i) sum[i] += from[i];
    return;
  }
  const float norm = norm_of(*this, row);
  each_centroid(*this, row, [&](const AnyFloat* centroid, int64_t begin, int64_t size) {
    add(centroid, norm, sum + begin, size);
  });
}

float MatrixRows::dot(int64_t row, const float* vector) const {
  if (values != nullptr) return product(values + row * stride, vector, dim);
  float sum = 0;
  each_centroid(*this, row, [&](const AnyFloat* centroid, int64_t begin, int64_t size) {
    for (int64_t i = 0; i < size; ++i) sum += centroid[i] * vector[begin + i];
  });
  return sum * norm_of(*this, row);
}

void MatrixRows::add_to(std::span<const int32_t> numbers, float* sum) const {
  const auto ask = [&](size_t i) {
    if (i < numbers.size() && numbers[i] >= 0) prefetch(numbers[i]);
  };
  for (size_t i = 0; i < kAhead; ++i) ask(i);
  for (size_t i = 0; i < numbers.size(); ++i) {
    ask(i + kAhead);
    if (numbers[i] >= 0) add_to(numbers[i], sum);
  }
}

void MatrixRows::mean(const int32_t* numbers, int64_t count, float* mean) const {
  std::fill_n(mean, dim, 0.0F);
  add_to({numbers, static_cast<size_t>(count)}, mean);
  if (count == 0) return;
  const float share = 1.0F / static_cast<float>(count);
  for (int64_t i = 0; i < dim; ++i) mean[i] *= share;
}

}  // namespace lexforge::text
