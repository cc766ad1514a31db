#pragma once

#include "quant/bwn.h"

namespace nibble {

/// XNOR-Net (Rastegari et al., ECCV 2016).
///   activations: q(x) = sign(x), sign(0) = +1; dq/dx = the backward rule, "hard_tanh" in the paper  (sec. 3.2)
///   weights:     as Bwn
/// Departs, as the released code does: the map K of local input magnitudes does not scale the convolution's output; the
/// batch norm that follows normalises it.
class Xnor final : public Quantizer {
 public:
  struct Options : Bwn::Options {
    Options() { role = "act"; }
    void fields(Fields& f);
  };
  explicit Xnor(const Options& options);

  std::string_view type() const override { return "xnor"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void constrain(const Tensor& weight) override;
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
  std::shared_ptr<Bwn> weights_;  ///< null for activations
  std::shared_ptr<const BackwardRule> rule_;
};

}  // namespace nibble
