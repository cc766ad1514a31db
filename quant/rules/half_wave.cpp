#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// Cai et al., the clipped backward approximation.
struct HalfWave {
  static constexpr std::string_view kName = "half_wave";
  static float slope(float u, float lo, float hi) { return u > lo && u <= hi ? 1.0f : 0.0f; }
  static BackwardRule::Window window(float lo, float hi) { return {just_above(lo), hi}; }
  static double surrogate(double u, double lo, double hi) { return std::clamp(u, lo, hi); }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<HalfWave>, "half_wave",
                              "Passes where lo < x <= hi (HWGQ's clipped rule; lo is 0).");

}  // namespace nibble
