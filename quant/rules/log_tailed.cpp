#include <cmath>

#include "quant/slope_rule.h"

namespace nibble {

namespace {

/// Cai et al.: the derivative of hi + log(u - (hi - 1)) above the top level.
struct LogTailed {
  static constexpr std::string_view kName = "log_tailed";
  static float slope(float u, float lo, float hi) { return u <= lo ? 0.0f : u <= hi ? 1.0f : 1.0f / (u - (hi - 1.0f)); }
  static double surrogate(double u, double lo, double hi) {
    return u <= hi ? std::max(u, lo) : hi + std::log(u - (hi - 1));
  }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<LogTailed>, "log_tailed",
                              "1 where lo < x <= hi, 1 / (x - hi + 1) above, 0 below (HWGQ's log-tailed rule).");

}  // namespace nibble
