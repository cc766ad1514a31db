#pragma once

#include <vector>

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Binary-weight networks (Rastegari et al., ECCV 2016). A weight (O, I, ...) in, same shape out; a filter is one
/// output channel of n elements.
///   q(w) = alpha sign(w), alpha = mean|w| over the filter, sign(0) = +1                          (eq. 5-7)
///   dL/dw_i = dL/dq_i (1/n + alpha r_i) with r the backward rule at w, by default 1[|w| < 1]      (sec. 3.1)
///   or the released code's, that times n (1 - 1/I); or, for HWGQ, the rule alone
/// After every optimizer step, as in the released code, the mean over the input channels is subtracted at each position
/// of the window and weights are clamped to [-1, 1].
/// Departs: with a single input channel (depthwise) there is nothing to centre and the factor 1 - 1/I is left out.
class Bwn final : public Quantizer {
 public:
  struct Options {
    std::string role = "weight";
    bool per_channel = true;
    std::string gradient = "paper";
    bool center = true, clamp = true;
    Config backward;
    void fields(Fields& f);
    /// All but the role.
    void weight_fields(Fields& f);
  };
  explicit Bwn(const Options& options);

  std::string_view type() const override { return "bwn"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void constrain(const Tensor& weight) override;
  Claims claims() const override { return {.scale_equivariant = true}; }
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  std::vector<float> scales(const Tensor& w) const;

  Options options_;
  std::shared_ptr<const BackwardRule> rule_;
};

}  // namespace nibble
