#include <cmath>

#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// Liu et al. 2018: the derivative of their piecewise quadratic stand-in for sign.
struct BiReal {
  static constexpr std::string_view kName = "bireal";
  static float slope(float u, float, float) { return u > -1 && u < 1 ? 2.0f - 2.0f * (u < 0 ? -u : u) : 0.0f; }
  static double surrogate(double u, double, double) { return u <= -1 ? -1 : u >= 1 ? 1 : 2 * u - u * std::abs(u); }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<BiReal>, "bireal", "2 - 2|x| where |x| < 1 (Bi-Real Net's polynomial).");

}  // namespace nibble
