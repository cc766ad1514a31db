#pragma once

#include <vector>

#include "quant/bwn.h"

namespace nibble {

/// Half-wave Gaussian quantization (Cai et al., CVPR 2017).
///   activations: q(x) = 0 for x <= 0, else the nearest of the positive levels c_1 < ... < c_m, ties down    (eq. 9-10)
///                There is no zone of zeros above 0: any x > 0 gives at least c_1.
///                dq/dx = the backward rule at x with hi = c_m: "half_wave" (clipped), the default, "vanilla" or
///                "log_tailed"                                                                        (sec. 4)
///   weights:     alpha sign(w), alpha = mean|w| of the filter, a constant in the backward rule "identity"  (sec. 3.1)
/// The levels are the best for the positive half of a standard normal distribution: the input must be the output of a
/// batch norm without gamma and beta ("scale": false, "offset": false). Steps of the uniform tables as released: 0.799,
/// 0.538, 0.3217, 0.185 (1 to 4 bits).
class Hwgq final : public Quantizer {
 public:
  struct Options {
    std::string role = "act";
    int bits = 2;
    std::string table = "uniform";
    std::vector<double> levels;  ///< positive levels instead of a table's
    bool per_channel = true;
    Config backward;
    void fields(Fields& f);
  };
  explicit Hwgq(const Options& options);

  std::string_view type() const override { return "hwgq"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  Claims claims() const override { return {.scale_equivariant = weights_ != nullptr}; }
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
  Codebook book_;
  std::shared_ptr<Bwn> weights_;  ///< null for activations
  std::shared_ptr<const BackwardRule> rule_;
};

}  // namespace nibble
