#pragma once

#include "quant/bwn.h"

namespace nibble {

/// XNOR-Net (Rastegari et al., ECCV 2016).
///   activations: q(x) = sign(x), sign(0) = +1; dq/dx = the backward rule, "hard_tanh" in the paper  (sec. 3.2)
///   weights:     as Bwn
///   output:      with use_k, times the map K of local input magnitudes, see XnorScale                (eq. 11)
/// Departs, as the released code does: without use_k, K is left out; the batch norm that follows normalises the output.
class Xnor final : public Quantizer {
 public:
  struct Options : Bwn::Options {
    bool use_k = false;
    Options() { role = "act"; }
    void fields(Fields& f);
  };
  explicit Xnor(const Options& options);

  std::string_view type() const override { return "xnor"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void constrain(const Tensor& weight) override;
  /// With use_k. Throws Error if the layer has a bias, which K is not to scale, or groups.
  std::shared_ptr<Layer> output_scale(const GemmForm& gemm) const override;
  Claims claims() const override { return {.scale_equivariant = weights_ != nullptr}; }
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
  std::shared_ptr<Bwn> weights_;  ///< null for activations
  std::shared_ptr<const BackwardRule> rule_;
};

}  // namespace nibble
