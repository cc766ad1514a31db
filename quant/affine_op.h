#pragma once

#include <memory>

#include "core/ops/elementwise_op.h"
#include "quant/affine_range.h"
#include "quant/backward_rule.h"

namespace nibble {

/// dx = dy * the backward rule at x / S, for n elements of one range; dx may be dy.
void affine_gradient(const float* x, const float* dy, float* dx, int64_t n, const AffineRange& range,
                     const BackwardRule& rule);

/// Affine quantization with one range for all elements, as an op that others can run on their way, of inputs whose
/// range is known, and so finite. It trains nothing.
class AffineOp final : public ElementwiseOp {
 public:
  AffineOp(const AffineRange& range, Ties ties, std::shared_ptr<const BackwardRule> rule)
      : range_(range), ties_(ties), rule_(std::move(rule)) {}

  std::string_view name() const override { return "affine"; }
  bool forward(const float* x, float* y, int64_t n) const override;
  double backward(const float* x, const float* dy, float* dx, int64_t n) const override;
  bool flat_below_zero() const override;
  double backward_of_relu(const float* x, const float* dy, float* dx, int64_t n) const override;
  const Tensor& parameter() const override { return none_; }
  Tensor parameter_gradient(double) const override { return {}; }

 private:
  AffineRange range_;
  Ties ties_;
  std::shared_ptr<const BackwardRule> rule_;
  Tensor none_;
};

}  // namespace nibble
