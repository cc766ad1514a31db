#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// The derivative of clamp(u, lo, hi), both ends included.
struct ClippedSte {
  static constexpr std::string_view kName = "clipped_ste";
  static float slope(float u, float lo, float hi) { return u >= lo && u <= hi ? 1.0f : 0.0f; }
  static BackwardRule::Window window(float lo, float hi) { return {lo, hi}; }
  static double surrogate(double u, double lo, double hi) { return std::clamp(u, lo, hi); }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<ClippedSte>, "clipped_ste",
                              "Passes where lo <= x <= hi, the ends included (DoReFa, affine).");

}  // namespace nibble
