#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// The derivative of clamp(u, -1, 1), whatever the levels.
struct HardTanh {
  static constexpr std::string_view kName = "hard_tanh";
  static float slope(float u, float, float) { return u >= -1 && u <= 1 ? 1.0f : 0.0f; }
  static BackwardRule::Window window(float, float) { return {-1, 1}; }
  static double surrogate(double u, double, double) { return std::clamp(u, -1.0, 1.0); }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<HardTanh>, "hard_tanh", "Passes where |x| <= 1 (BNN, XNOR-Net).");

}  // namespace nibble
