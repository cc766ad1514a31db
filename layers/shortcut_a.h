#pragma once

#include "layers/layer.h"

namespace nibble {

/// The residual shortcut without parameters (He et al., CVPR 2016, option A): takes every stride-th row and column, or
/// the mean of stride x stride pixels, and adds zero channels. (N, H, W, C) -> (N, ceil(H/s), ceil(W/s), out). With an
/// odd number of zero channels on both sides the odd one lies behind. Throws if the input has more channels than out.
class ShortcutA final : public Layer {
 public:
  struct Options {
    int out = 1, stride = 2;
    std::string pool = "subsample", pad = "both";
    void fields(Fields& f);
  };
  explicit ShortcutA(const Options& options) : options_(options) {}

  std::string_view type() const override { return "shortcut_a"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Json config() const override { return write_options(options_); }
  Facts facts() const override;

 private:
  Options options_;
};

}  // namespace nibble
