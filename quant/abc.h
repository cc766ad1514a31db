#pragma once

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Accurate binary convolution (Lin et al., NIPS 2017), `bits` binary bases per layer.
/// Weights, recomputed from the weight in every forward pass:
///   B_m = sign(W - mean(W) + u_m std(W)), u_m = -1 + 2 (m - 1) / (M - 1), M = 1: 0           (eq. 2)
///   alpha = argmin |W - sum_m alpha_m B_m|^2, q(W) = sum_m alpha_m B_m                        (eq. 4)
///   dL/dW = sum_m alpha_m g slope(W - mean(W) + u_m std(W)), alpha as a constant; with "gradient": "identity" it is g
/// sign(0) is 1; a tiny ridge keeps the normal equations solvable (constant weights make equal bases).
/// Activations, with learned beta > 0 and v:
///   A_n = 1 if x + v_n >= 0.5, else -1; q(x) = sum_n beta_n A_n                               (eq. 7-9)
///   dL/dx = sum_n beta_n g slope(x + v_n), dL/dv_n = sum beta_n g slope(x + v_n), dL/dbeta_n = sum g A_n
/// where "clipped_ste", the paper's rule, is 1 on [0, 1]. beta starts at 1/N, v so that the thresholds 0.5 - v_n are
/// the quantiles n / (N + 1) of the standard normal distribution.
class Abc final : public Quantizer {
 public:
  struct Options {
    int bits = 3;
    std::string role = "act";
    std::string gradient = "chain";
    Config backward;
    void fields(Fields& f);
  };
  explicit Abc(const Options& options);

  std::string_view type() const override { return "abc"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  /// Activations: a Codebook with the bits + 1 sums that occur. Weights: BitPlanes of w, Real without it.
  Grid grid(const Tensor& w = {}) const override;
  void visit(StateVisitor& visitor) override;
  /// Keeps beta positive and both finite.
  void after_update() override;
  Claims claims() const override {
    const bool weight = options_.role == "weight";
    return {.idempotent = weight, .scale_equivariant = weight};
  }
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_state(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  Tensor quantize_weight(const Tensor& w) const;
  Tensor quantize_activation(const Tensor& x) const;

  Options options_;
  std::shared_ptr<const BackwardRule> rule_;
  Tensor beta_, shift_;  ///< activations only
  Tensor state_;         ///< i64: how often a parameter was guarded
};

}  // namespace nibble
