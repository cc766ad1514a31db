#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// Zhang et al., activations: clipped at the top level only.
struct Below {
  static constexpr std::string_view kName = "below";
  static float slope(float u, float, float hi) { return u <= hi ? 1.0f : 0.0f; }
  static BackwardRule::Window window(float, float hi) { return {-std::numeric_limits<float>::infinity(), hi}; }
  static double surrogate(double u, double, double hi) { return std::min(u, hi); }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<Below>, "below",
                              "Passes where x <= hi (LQ-Nets activations; the ReLU in front masks the lower side).");

}  // namespace nibble
