#pragma once

#include <memory>

#include "layers/elementwise_quantizer.h"

namespace nibble {

/// A relu or relu6 and the quantizer behind it as one layer, which shares the quantizer: what it makes of clamp(x), or
/// with a second input of clamp(x + residual). Bit for bit what the layers compute one after the other. Made by fuse().
class ClampQuantize final : public Layer {
 public:
  /// `most` is the upper bound of the clamp, infinity for relu.
  ClampQuantize(float most, std::shared_ptr<ElementwiseQuantizer> quantizer)
      : most_(most), quantizer_(std::move(quantizer)) {}

  std::string_view type() const override { return "clamp_quantize"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  void visit(StateVisitor& visitor) override { visitor.child("quantizer", *quantizer_); }

 private:
  std::shared_ptr<const ElementwiseOp> training_op(const Tensor& x, const Tensor& residual) const;

  float most_;
  std::shared_ptr<ElementwiseQuantizer> quantizer_;
};

}  // namespace nibble
