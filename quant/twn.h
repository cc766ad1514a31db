#pragma once

#include <vector>

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Ternary weight networks (Li & Liu, 2016). Weights of any shape in, same shape out; statistics over the tensor, or
/// over each output channel with per_channel.
///   q(w) = alpha sign(w) where |w| > delta, else 0                                          (eq. 3)
///   delta = factor * mean|w|, 0.7 in the paper's first version and its code, 0.75 in its third   (eq. 6)
///           or, with exact, the maximiser of (sum of |w| above delta)^2 / (number above delta)   (eq. 5)
///   alpha = mean of |w| over |w| > delta; 0 if there are none                               (eq. 4)
///   dq/dw = the backward rule at w / alpha; "identity" is the paper's
class Twn final : public Quantizer {
 public:
  struct Options {
    std::string role = "weight";
    double factor = 0.7;
    bool exact = false, per_channel = false;
    Config backward;
    void fields(Fields& f);
  };
  explicit Twn(const Options& options);

  std::string_view type() const override { return "twn"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  Claims claims() const override { return {.scale_equivariant = true}; }
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
  std::shared_ptr<const BackwardRule> rule_;
};

/// One channel's threshold and level.
struct Ternary {
  float delta = 0, alpha = 0;
};

/// Of each of `channels` parts: delta = factor * mean|w| and alpha, the mean of |w| above it. Throws Error naming `who`
/// if w is not finite.
std::vector<Ternary> ternary_fit(std::string_view who, const Tensor& w, int64_t channels, double factor);
/// The best delta and its alpha; sorts a copy of w.
std::vector<Ternary> ternary_optimum(std::string_view who, const Tensor& w, int64_t channels);

}  // namespace nibble
