#pragma once

#include "quant/gradient_quantizer.h"

namespace nibble {

/// DoReFa-Net's quantization of gradients (Zhou et al., 2016, eq. 12): the identity forwards, to be placed behind a
/// convolution: {"match": "*", "grad": {"type": "dorefa_gradient", "bits": 6}}. Backwards each sample's gradient d
/// becomes, with k bits and m = max|d| over the sample,
///   2 m (quantize_k(clamp(d / (2 m) + 1/2 + noise, 0, 1)) - 1/2), noise uniform in (-1/2, 1/2) / (2^k - 1) per element
/// and 0 where m is 0. Axis 0 is the batch. Throws in training if the pass has no random generator, and backwards if a
/// gradient is not finite; evaluation is the identity.
class DorefaGradient final : public GradientQuantizer {
 public:
  struct Options {
    int bits = 6;
    void fields(Fields& f);
  };
  explicit DorefaGradient(const Options& options);

  std::string_view type() const override { return "dorefa_gradient"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
};

}  // namespace nibble
