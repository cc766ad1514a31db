#pragma once

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Learned quantization interval (Jung et al., CVPR 2019): centre c and half-width d, for weights also gamma.
///   z(v) = 0.5 (v - c) / d + 0.5, which is 0 at c - d and 1 at c + d
///   weights:     q(w) = round(Q clamp(z(|w|), 0, 1)^gamma) / Q sign(w), Q = 2^(bits-1) - 1
///   activations: q(x) = round(Q clamp(z(x), 0, 1)) / Q,                 Q = 2^bits - 1
/// Rounding is half to even; the output lies in [-1, 1] or [0, 1] and is not scaled back. The gradient is that of the
/// transformer z^gamma inside the interval, times the backward rule at u = Q z with lo = 0 and hi = Q:
///   dq/dw = gamma z^(gamma-1) 0.5/d,  dq/dc = -sign(w) dq/dw,  dq/dd = -sign(w) dq/dw (|w| - c)/d,
///   dq/dgamma = sign(w) z^gamma ln z
/// The interval starts as [0, max|w|] for weights and [0, the 99.9 % quantile of the first batch] for activations;
/// c >= 0 and d >= 1e-4 always. The paper's progressive training (5, 4, 3, 2 bits) is one run for each width, starting
/// from the checkpoint of the one before ("train": {"init": ...}), which hands its interval on.
class Qil final : public Quantizer {
 public:
  struct Options {
    int bits = 4;
    std::string role = "act";
    double gamma = 1;
    bool learn_gamma = false;
    double center = 0, width = 0;  ///< initial c and d; width 0 takes both from the data
    double lr_factor = 0.01;
    Config backward;
    void fields(Fields& f);
  };
  explicit Qil(const Options& options);

  std::string_view type() const override { return "qil"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void visit(StateVisitor& visitor) override;
  void after_update() override;
  Claims claims() const override { return {.idempotent = false}; }
  /// Where gamma is not 1 this holds for rules that are the identity between the ends.
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_state(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  bool weights() const { return options_.role == "weight"; }
  void initialize_interval(const Tensor& x);

  Options options_;
  int steps_;  ///< Q
  std::shared_ptr<const BackwardRule> rule_;
  Tensor center_, width_;
  Tensor gamma_;  ///< weights only
  Tensor state_;  ///< i64: whether the interval is set, how often a parameter was guarded
};

}  // namespace nibble
