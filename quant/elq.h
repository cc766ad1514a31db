#pragma once

#include "quant/incremental.h"

namespace nibble {

/// Explicit loss-error-aware quantization (Zhou et al., CVPR 2018), weights of one layer in {-alpha, 0, alpha} or
/// {-alpha, alpha}.
///   alpha = mean|W| + beta max|W|, once, from the weight that training starts with           (eq. 10)
///   q(w) = alpha if w > alpha/2, -alpha if w < -alpha/2, else 0; binary: alpha if w >= 0, else -alpha (eq. 11, 12)
///   w_t = w_(t-1) - lr dL/dw - lambda sign(w_(t-1) - q(w_(t-1))), free weights only          (eq. 15)
/// The optimizer makes the first step of that update; constrain() the second, with the pull worked out in forward, and
/// then clips to [-alpha, alpha]. At the start of phase n (from 0) the free weights with
///   bounds[n] <= |w| / alpha < 2 bounds[0] - bounds[n]                                       (sec. 3.3)
/// are fixed at q(w); binary: |w| / alpha < 2 (bounds[0] - bounds[n]), around the binary threshold. The last phase
/// fixes all that is left. Departs: the paper prints mean(W), which is about 0 ("alpha_rule": "literal"); it gives
/// neither lambda nor the clip, which are elq.md's choices: lambda = rho alpha lr / (sum of lr over the phase), never
/// beyond the remaining distance.
class Elq final : public IncrementalQuantizer {
 public:
  struct Options : IncrementalQuantizer::Options {
    std::string levels = "ternary";
    std::string alpha_rule = "abs";
    double beta = 0.05;
    double alpha = 0;  ///< 0 takes it from the weight
    std::vector<double> bounds = {0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0};
    std::string bands = "center";
    std::string lambda_rule = "phase";
    double rho = 0.25;
    double lambda = 0;
    bool lambda_clip = true;
    void fields(Fields& f);
  };
  explicit Elq(const Options& options);

  std::string_view type() const override { return "elq"; }
  /// Pulls and clips. Does nothing before training has begun.
  void constrain(const Tensor& w) override;
  Claims claims() const override { return {.scale_equivariant = options_.alpha == 0}; }
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 protected:
  float centre_of(const Tensor& w) const override;
  Grid grid_of(float alpha) const override;
  void join(int phase, const Tensor& w, std::span<uint8_t> free) const override;
  void prepare(const Tensor& w, const TrainClock& clock) override;

 private:
  bool ternary() const { return options_.levels == "ternary"; }
  float lambda_at(const TrainClock& clock) const;

  Options options_;
  Tensor pull_;         ///< of the running step: what constrain() subtracts
  bool pulls_ = false;  ///< whether a pull is due
};

}  // namespace nibble
