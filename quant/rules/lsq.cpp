#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// Esser et al., eq. 5, with the step gradient of eq. 3.
struct LsqRule {
  static constexpr std::string_view kName = "lsq";
  static float slope(float u, float lo, float hi) { return u > lo && u < hi ? 1.0f : 0.0f; }
  static BackwardRule::Window window(float lo, float hi) { return {just_above(lo), just_below(hi)}; }
  static double surrogate(double u, double lo, double hi) { return std::clamp(u, lo, hi); }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<LsqRule>, "lsq", "Passes where lo < x < hi, the ends excluded (LSQ, eq. 5).");

}  // namespace nibble
