// A quantizer and a backward rule of one's own in a program that is otherwise nibble: custom_quantizer.json names them.
// usage: custom_quantizer train custom_quantizer.json; custom_quantizer eval runs/custom_quantizer; ...
#include "apps/program.h"
#include "layers/quantizer.h"
#include "quant/slope_rule.h"
#include "quant/straight_through.h"

#include <cmath>

using namespace nibble;

/// A tenth of the gradient reaches what is clipped, so that it can come back.
struct Leaky {
  static constexpr std::string_view kName = "leaky_ste";
  static float slope(float u, float lo, float hi) { return u >= lo && u <= hi ? 1.0f : 0.1f; }
  static double surrogate(double u, double lo, double hi) { return 0.9 * std::clamp(u, lo, hi) + 0.1 * u; }
};
NIBBLE_REGISTER_BACKWARD_RULE(SlopeRule<Leaky>, "leaky_ste", "1 between the levels, 0.1 where x is clipped.");

/// Binary fixed point: steps of 2^-fraction.
class FixedPoint final : public Quantizer {
 public:
  struct Options {
    int bits = 4, fraction = 2;
    bool is_signed = false;
    Config backward;
    void fields(Fields& f) {
      f("bits", bits, "width of the codes", {2, 8})("fraction", fraction, "how many of them are behind the point");
      f("signed", is_signed, "two's complement; set for weights");
      f.raw("backward", backward, "a backward rule", "gradient of the input; by default \"leaky_ste\"");
    }
  };
  explicit FixedPoint(const Options& o) : options_(o), rule_(make_backward_rule(o.backward, "leaky_ste")) {}
  std::string_view type() const override { return "fixed_point"; }
  Json config() const override { return write_options(options_); }
  Grid grid(const Tensor& = {}) const override {
    const int lo = options_.is_signed ? -(1 << (options_.bits - 1)) : 0;
    return Uniform{{std::ldexp(1.0f, -options_.fraction)}, {0}, lo, lo + (1 << options_.bits) - 1};
  }
  Tensor forward(Inputs in, const Pass&) override { return straight_through("fixed_point", in[0], grid(), rule_); }

 private:
  Options options_;
  std::shared_ptr<const BackwardRule> rule_;
};
NIBBLE_REGISTER_LAYER(FixedPoint, "fixed_point", "Binary fixed point.");

int main(int argc, char** argv) { return run_program(argc, argv); }
