#pragma once

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// BinaryConnect (Courbariaux et al., NIPS 2015). Weights of any shape in, same shape out.
///   deterministic: q(w) = H sign(w), sign(0) = +1                                             (eq. 1)
///   stochastic:    q(w) = H with probability clamp((w / H + 1) / 2, 0, 1), else -H            (eq. 2-3)
///                  drawn afresh in every training pass; evaluation uses w itself              (sec. 2.6)
///   dq/dw = the backward rule at w; "identity" is the paper's                                 (alg. 1)
/// Weights are clamped to [-H, H] after every optimizer step                                   (sec. 2.4)
/// and their updates scaled by Glorot's coefficient, see glorot_lr_factor()                    (sec. 2.5)
/// The stochastic variant throws in training if the pass has no random generator; its grid is Real.
class BinaryConnect final : public Quantizer {
 public:
  struct Options {
    std::string role = "weight";
    double bound = 1.0;  ///< H
    bool stochastic = false;
    std::string lr_scale = "glorot";
    Config backward;
    void fields(Fields& f);
  };
  explicit BinaryConnect(const Options& options);

  std::string_view type() const override { return "binaryconnect"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void constrain(const Tensor& weight) override;
  float lr_factor(const Tensor& weight) const override;
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
  float bound_;
  std::shared_ptr<const BackwardRule> rule_;
};

}  // namespace nibble
