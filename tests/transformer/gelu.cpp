// The error bounds that csrc/transformer/gelu.h states, over a dense sweep of float32 against
// float64. Prints the worst errors, and fails where one is beyond its bound.
#include "transformer/gelu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>

namespace {

using namespace lexforge;

double phi_below(double t) { return 0.5 * std::erfc(t * 0.70710678118654752); }  // Phi(-t)
double density(double t) { return 0.39894228040143268 * std::exp(-0.5 * t * t); }

struct Worst {
  const char* what;
  double bound, error = 0;
  float at = 0;

  void add(double off, float z) {
    if (!(off <= error)) error = off, at = z;  // NaN is an error
  }
  bool report() const {
    std::printf("%-28s %.2e at %-12g bound %.1e\n", what, error, static_cast<double>(at), bound);
    return error <= bound;
  }
};

// visit(t) for float32 numbers t in [2^-40, 16], every `step`-th, and for the ends.
template <typename Visit>
void sweep(uint32_t step, const Visit& visit) {
  const uint32_t last = std::bit_cast<uint32_t>(16.0f);
  for (uint32_t bits = std::bit_cast<uint32_t>(0x1p-40f); bits <= last; bits += step) {
    visit(std::bit_cast<float>(bits));
  }
  for (float t : {0x1p-126f, 0x1p-100f, 13.2f, 15.0f, 16.0f, 1e10f, 3.4e38f}) visit(t);
}

template <bool kBrief>
bool check(double relative, double per_square, double slope_bound, double of_ratio) {
  using Tail = GaussianTail<kBrief>;
  constexpr double kUnit = 1.1920929e-7;
  Worst value{"z Phi(z), relative", relative}, end{"where it is denormal", 1e-37};
  Worst above{"for positive z, relative", relative};
  Worst slope{"slope, absolute", slope_bound}, ratio{"P alone, relative", of_ratio};
  Worst jitter{"tail, device's functions", relative + 4 * kUnit};
  sweep(kBrief ? 331 : 61, [&](float t) {
    const double wide = t;
    const double exact = -wide * phi_below(wide);
    if (t <= 12.5f) {
      const double allowed = 1 + per_square * wide * wide / relative;
      value.add(std::abs(gelu<kBrief>(-t) / exact - 1) / allowed, -t);
    } else {
      end.add(std::abs(static_cast<double>(gelu<kBrief>(-t)) - exact), -t);
    }
    above.add(std::abs(gelu<kBrief>(t) / (wide + exact) - 1), t);
    const double below = phi_below(wide) - (t < 40 ? wide * density(wide) : 0);
    slope.add(std::abs(gelu_slope<kBrief>(-t) - below), -t);
    slope.add(std::abs(gelu_slope<kBrief>(t) - (1 - below)), t);
    if (t > 13.2f) return;

    // In float64 but for P's coefficients; then as far off as ex2.approx and rcp.approx may be.
    const double y = 1 / (wide + static_cast<double>(Tail::kOffset));
    double p = 0;
    for (int i = 0; i < Tail::kTerms; ++i) p = p * y + static_cast<double>(Tail::coefficient(i));
    const double exact_ratio = phi_below(wide) / std::exp(-0.5 * wide * wide);
    ratio.add(std::abs(y * p / exact_ratio - 1), t);
    for (double sign : {-1.0, 1.0}) {
      const float off = Tail::ratio(static_cast<float>(y * (1 + sign * kUnit)));
      jitter.add(std::abs((1 + sign * 2 * kUnit) * static_cast<double>(off) / exact_ratio - 1), t);
    }
  });
  std::printf("%s\n", kBrief ? "brief" : "full");
  bool good = true;
  for (const Worst& worst : {value, end, above, slope, ratio, jitter}) good &= worst.report();
  return good;
}

template <bool kBrief>
bool check_limits() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  return gelu<kBrief>(kInfinity) == kInfinity && gelu<kBrief>(-kInfinity) == 0 &&
         gelu_slope<kBrief>(kInfinity) == 1 && gelu_slope<kBrief>(-kInfinity) == 0 &&
         std::isnan(gelu<kBrief>(nan)) && std::isnan(gelu_slope<kBrief>(nan)) &&
         gelu<kBrief>(0.0f) == 0 && gelu<kBrief>(-0.0f) == 0 &&
         std::abs(gelu_slope<kBrief>(0.0f) - 0.5f) < (kBrief ? 4e-5f : 2e-7f);
}

}  // namespace

int main() {
  const bool full = check<false>(5e-7, 1e-7, 3e-7, 8e-8);
  const bool brief = check<true>(6e-5, 1e-7, 4e-5, 5e-5);
  const bool limits = check_limits<false>() && check_limits<true>();
  std::printf("limits %s\n", limits ? "right" : "wrong");
  return full && brief && limits ? 0 : 1;
}
