#pragma once

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// DoReFa-Net (Zhou et al., 2016). With quantize_k(r) = round((2^k - 1) r) / (2^k - 1), half to even:
///   activations:    q(x) = quantize_k(clamp(x, 0, 1)); dq/dx = the backward rule, "clipped_ste"          (eq. 11)
///                   Departs: with clip c it is c quantize_k(clamp(x / c, 0, 1)), for networks whose float
///                   training knew no upper end; the paper's c is 1
///   weights, k > 1: q(w) = 2 quantize_k(t / (2 m) + 1/2) - 1, t = tanh(w), m = max|t| over the tensor     (eq. 9)
///                   dL/dt_i = dL/dq_i / m, and at the largest |t| (ties share it) further
///                   -sign(t_i) sum_j dL/dq_j t_j / m^2 unless detach_max; dL/dw = dL/dt (1 - t^2)
///   weights, k = 1: q(w) = E sign(w), E = mean|w| over the tensor, a constant in the backward pass,
///                   dq/dw = the backward rule, "identity"; sign(0) = +1                                  (eq. 8)
/// Where m is below 1e-8 the gradient is not divided by it.
class Dorefa final : public Quantizer {
 public:
  struct Options {
    std::string role = "act";
    int bits = 4;
    bool detach_max = false;
    double clip = 1;  ///< upper end of the activations' range
    Config backward;
    void fields(Fields& f);
  };
  explicit Dorefa(const Options& options);

  std::string_view type() const override { return "dorefa"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  Claims claims() const override { return {.scale_equivariant = options_.role == "weight" && options_.bits == 1}; }
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  Tensor quantize_weight(const Tensor& w) const;

  Options options_;
  std::shared_ptr<const BackwardRule> rule_;
};

}  // namespace nibble
