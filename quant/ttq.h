#pragma once

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Trained ternary quantization (Zhu et al., ICLR 2017). Weights of any shape in, same shape out.
///   q(w) = Wp where w > delta, -Wn where w < -delta, else 0; delta = t max|w|, a constant backwards   (eq. 6, 9)
///          or, with sparsity r > 0, the r-quantile of |w|, so that the part r of the weights is 0     (sec. 3)
///   dL/dWp = sum of dL/dq over w > delta, dL/dWn = minus the sum over w < -delta                      (eq. 7)
///   dL/dw = dL/dq times Wp, 1 or Wn in the three zones                                               (eq. 8)
///           times the backward rule at w, which the paper lacks ("identity")
/// Wp and Wn, one per layer, start at 1 as in the released code, or with init "twn" at the TWN scale of the first
/// weights seen in training. They never fall below 1e-8: an update that would do so is undone up to there and counted,
/// one that is not finite is undone.
class Ttq final : public Quantizer {
 public:
  struct Options {
    std::string role = "weight";
    double threshold = 0.05;  ///< t
    double sparsity = 0;      ///< r; 0 takes the threshold
    std::string init = "one";
    Config backward;
    void fields(Fields& f);
  };
  explicit Ttq(const Options& options);

  std::string_view type() const override { return "ttq"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void visit(StateVisitor& visitor) override;
  void after_update() override;
  Claims claims() const override { return {.scale_equivariant = options_.init == "twn"}; }
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Complaints audit_state(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  float delta(const Tensor& w) const;
  Codebook book(float delta) const;

  Options options_;
  std::shared_ptr<const BackwardRule> rule_;
  Tensor wp_, wn_;          ///< one element each
  Tensor state_;            ///< i64: whether they are set, how often they were guarded
  float used_[2] = {1, 1};  ///< Wp and Wn in the last training pass
};

}  // namespace nibble
