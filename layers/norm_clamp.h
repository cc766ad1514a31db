#pragma once

#include <limits>

#include "layers/batch_norm.h"
#include "layers/quantized_ahead.h"

namespace nibble {

inline constexpr float kNoBound = std::numeric_limits<float>::infinity();

/// A batch norm and the relu or relu6 behind it as one layer, which shares both: clamp(norm(x)), or with a second input
/// clamp(norm(x) + residual). A quantizer behind these can be part of it, and one among several readers can have its
/// work done here. Bit for bit what the layers compute one after the other. Made by fuse().
class NormClamp final : public Layer {
 public:
  /// `most` is the upper bound of the clamp, or kNoBound. The output is that of `quantizer`, if there is one; `ahead`
  /// gets a second one.
  NormClamp(std::shared_ptr<BatchNorm> norm, float most, std::shared_ptr<ElementwiseQuantizer> quantizer = {},
            std::shared_ptr<QuantizedAhead> ahead = {})
      : norm_(std::move(norm)), most_(most), quantizer_(std::move(quantizer)), ahead_(std::move(ahead)) {}

  std::string_view type() const override {
    return quantizer_ ? "norm_clamp_quantize" : ahead_ ? "norm_clamp_and_quantize" : "norm_clamp";
  }
  Tensor forward(Inputs in, const Pass& pass) override;
  void visit(StateVisitor& visitor) override;

 private:
  Tensor train(const Tensor& x, const Tensor& residual, const Pass& pass);

  std::shared_ptr<BatchNorm> norm_;
  float most_;
  std::shared_ptr<ElementwiseQuantizer> quantizer_;
  std::shared_ptr<QuantizedAhead> ahead_;
};

}  // namespace nibble
