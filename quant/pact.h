#pragma once

#include "layers/quantizer.h"
#include "quant/backward_rule.h"
#include "quant/dorefa.h"

namespace nibble {

/// Parameterized clipping activation (Choi et al., 2018).
///   y = clamp(x, 0, alpha), q = round(y (2^k - 1) / alpha) alpha / (2^k - 1), half to even            (eq. 1-2)
///   dq/dalpha = 1[x >= alpha], dq/dx = 1[0 <= x < alpha]: the backward rule "pact"                    (eq. 3)
/// alpha, one per layer, has weight decay, which is the paper's L2 term in the loss (sec. 3), and never falls below
/// 1e-3: an update that would do so is undone up to there and counted, one that is not finite is undone.
/// Weights, role "weight", are DoReFa's, as in the paper.
/// Departs: with alpha 0 in the options, it starts from the first training tensor instead of at a constant: four root
/// mean squares of x, or the largest x if that is less.
class Pact final : public Quantizer {
 public:
  struct Options {
    std::string role = "act";
    int bits = 4;
    double alpha = 10;
    Config backward;
    void fields(Fields& f);
  };
  explicit Pact(const Options& options);

  std::string_view type() const override { return "pact"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void visit(StateVisitor& visitor) override;
  void after_update() override;
  Claims claims() const override;
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Complaints audit_state(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  void initialize_alpha(const Tensor& x);

  Options options_;
  std::shared_ptr<Dorefa> weights_;  ///< null for activations
  std::shared_ptr<const BackwardRule> rule_;
  Tensor alpha_;    ///< one element
  Tensor state_;    ///< i64: whether alpha is set, how often it was guarded
  float used_ = 0;  ///< alpha in the last training pass
};

}  // namespace nibble
