#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/backward_rule.h"

namespace nibble {

/// The floats next to a bound that is not included.
inline float just_above(float bound) { return std::nextafter(bound, std::numeric_limits<float>::infinity()); }
inline float just_below(float bound) { return std::nextafter(bound, -std::numeric_limits<float>::infinity()); }

/// dx[i] = dy[i] where first <= u[i] <= last, else 0.
void pass_within(std::span<const float> u, std::span<const float> dy, float first, float last, std::span<float> dx);

/// A backward rule without options that is one formula: Formula has kName, slope(u, lo, hi) and surrogate(u, lo, hi),
/// the function that the slope is the derivative of. If the slope is 1 between two bounds and 0 elsewhere,
/// window(lo, hi) has these, both included.
template <class Formula>
class SlopeRule final : public BackwardRule {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit SlopeRule(const Options&) {}
  std::string_view type() const override { return Formula::kName; }
  std::optional<Window> window(float lo, float hi) const override {
    if constexpr (requires { Formula::window(lo, hi); }) {
      return Formula::window(lo, hi);
    } else {
      return BackwardRule::window(lo, hi);
    }
  }
  void input(View u, View dy, float lo, float hi, std::span<float> dx) const override {
    if (const auto bounds = window(lo, hi)) {
      pass_within(u, dy, bounds->first, bounds->last, dx);
      return;
    }
    // By way of the stack: neither dx in dy's storage nor a slope of 0 or 1, which compilers turn into a branch, then
    // keeps the loops from being vectorised.
    constexpr size_t kStretch = 512;
    float result[kStretch];
    for (size_t first = 0; first < u.size(); first += kStretch) {
      const size_t n = std::min(kStretch, u.size() - first);
      const float *at = u.data() + first, *gradient = dy.data() + first;
      for (size_t i = 0; i < n; ++i) result[i] = Formula::slope(at[i], lo, hi);
      for (size_t i = 0; i < n; ++i) result[i] *= gradient[i];
      std::copy_n(result, n, dx.data() + first);
    }
  }
  double surrogate(double u, double lo, double hi) const override { return Formula::surrogate(u, lo, hi); }
};

}  // namespace nibble
