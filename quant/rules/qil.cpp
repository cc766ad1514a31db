#include <algorithm>

#include "quant/backward_rule.h"

namespace nibble {

namespace {

/// Jung et al.: the output is the transformed value itself, y = clamp(x / step), so a wider interval shrinks what lies
/// inside: dy/dstep is -u there, growing with the distance from the lower end, and 0 where y is clipped.
class QilRule final : public BackwardRule {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit QilRule(const Options&) {}
  std::string_view type() const override { return "qil"; }
  void input(View u, View dy, float lo, float hi, std::span<float> dx) const override {
    for (size_t i = 0; i < u.size(); ++i) dx[i] = u[i] >= lo && u[i] <= hi ? dy[i] : 0.0f;
  }
  double surrogate(double u, double lo, double hi) const override { return std::clamp(u, lo, hi); }
  double step(View u, View, View dy, float lo, float hi) const override {
    double sum = 0;
    for (size_t i = 0; i < u.size(); ++i) sum -= u[i] >= lo && u[i] <= hi ? dy[i] * u[i] : 0.0f;
    return sum;
  }
};

}  // namespace

NIBBLE_REGISTER_BACKWARD_RULE(QilRule, "qil",
                              "Passes where lo <= x <= hi; the step learns from the elements inside only (QIL).");

}  // namespace nibble
