#pragma once

#include <memory>

#include "layers/elementwise_quantizer.h"

namespace nibble {

/// A quantizer of what a NormClamp computes for other readers, too: that layer has already done the quantizer's work
/// when the graph comes to it, and has left the result here. Made by fuse().
class QuantizedAhead final : public Layer {
 public:
  explicit QuantizedAhead(std::shared_ptr<ElementwiseQuantizer> quantizer) : quantizer_(std::move(quantizer)) {}

  const ElementwiseQuantizer& quantizer() const { return *quantizer_; }
  /// `result` is what the next forward() returns if its input is `x`; undefined if there is nothing.
  void leave(const Tensor& x, const Tensor& result);

  std::string_view type() const override { return "quantized_ahead"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  void visit(StateVisitor& visitor) override { quantizer_->visit(visitor); }

 private:
  std::shared_ptr<ElementwiseQuantizer> quantizer_;
  const void* input_ = nullptr;  ///< id of the tensor that result_ belongs to
  Tensor result_;
};

}  // namespace nibble
