#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// Straight-through estimator without clipping.
struct Identity {
  static constexpr std::string_view kName = "identity";
  static float slope(float, float, float) { return 1.0f; }
  static double surrogate(double u, double, double) { return u; }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<Identity>, "identity", "The gradient passes unchanged.");

}  // namespace nibble
