#pragma once

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Binarized neural networks (Hubara et al., NIPS 2016). Any shape in, same shape out.
///   q(x) = sign(x), sign(0) = +1                                                             (eq. 1)
///   stochastic activations: +1 with probability clamp((x + 1) / 2, 0, 1) in training         (eq. 2-3)
///   dq/dx = the backward rule at x: "hard_tanh" for activations                              (eq. 4)
///           and "identity" for weights, which are clamped to [-1, 1] after every step        (sec. 1.3, alg. 1)
/// The updates of weights are scaled by Glorot's coefficient, see glorot_lr_factor().
/// Stochastic activations throw in training if the pass has no random generator.
class Bnn final : public Quantizer {
 public:
  struct Options {
    std::string role = "act";
    bool stochastic = false;
    std::string lr_scale = "glorot";
    Config backward;
    void fields(Fields& f);
  };
  explicit Bnn(const Options& options);

  std::string_view type() const override { return "bnn"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void constrain(const Tensor& weight) override;
  float lr_factor(const Tensor& weight) const override;
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
  std::shared_ptr<const BackwardRule> rule_;
};

}  // namespace nibble
