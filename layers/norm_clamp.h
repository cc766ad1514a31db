#pragma once

#include <limits>

#include "layers/batch_norm.h"

namespace nibble {

inline constexpr float kNoBound = std::numeric_limits<float>::infinity();

/// A batch norm and the relu or relu6 behind it as one layer, which shares both: clamp(norm(x)), or with a second input
/// clamp(norm(x) + residual). Bit for bit what the layers compute one after the other. Made by fuse().
class NormClamp final : public Layer {
 public:
  /// `most` is the upper bound of `clamp`, or kNoBound.
  NormClamp(std::shared_ptr<BatchNorm> norm, std::shared_ptr<Layer> clamp, float most)
      : norm_(std::move(norm)), clamp_(std::move(clamp)), most_(most) {}

  std::string_view type() const override { return "norm_clamp"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  void visit(StateVisitor& visitor) override { norm_->visit(visitor); }

 private:
  std::shared_ptr<BatchNorm> norm_;
  std::shared_ptr<Layer> clamp_;
  float most_;
};

}  // namespace nibble
