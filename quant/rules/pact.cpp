#include <algorithm>

#include "quant/backward_rule.h"

namespace nibble {

namespace {

/// Choi et al.: y = clamp(x, 0, alpha) with alpha = step * hi. Inside, y does not depend on alpha.
class PactRule final : public BackwardRule {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit PactRule(const Options&) {}
  std::string_view type() const override { return "pact"; }
  void input(View u, View dy, float lo, float hi, std::span<float> dx) const override {
    for (size_t i = 0; i < u.size(); ++i) dx[i] = u[i] >= lo && u[i] < hi ? dy[i] : 0.0f;
  }
  double surrogate(double u, double lo, double hi) const override { return std::clamp(u, lo, hi); }
  double step(View u, View, View dy, float lo, float hi) const override {
    double sum = 0;
    for (size_t i = 0; i < u.size(); ++i) sum += u[i] >= hi ? dy[i] * hi : u[i] < lo ? dy[i] * lo : 0.0f;
    return sum;
  }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(PactRule, "pact",
                              "Passes where lo <= x < hi; the step learns from the clipped elements only (PACT).");

}  // namespace nibble
