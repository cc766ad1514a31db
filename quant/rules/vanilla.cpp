#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// Cai et al., the vanilla backward approximation.
struct Vanilla {
  static constexpr std::string_view kName = "vanilla";
  static float slope(float u, float lo, float) { return u > lo ? 1.0f : 0.0f; }
  static BackwardRule::Window window(float lo, float) {
    return {just_above(lo), std::numeric_limits<float>::infinity()};
  }
  static double surrogate(double u, double lo, double) { return std::max(u, lo); }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<Vanilla>, "vanilla",
                              "Passes where x > lo (HWGQ's vanilla rule: the derivative of ReLU).");

}  // namespace nibble
