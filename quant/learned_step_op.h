#pragma once

#include <memory>

#include "core/ops/elementwise_op.h"
#include "quant/backward_rule.h"

namespace nibble {

/// y = step * clamp(round(x / step), lo, hi) with one trained step: what step_gradients() differentiates, a stretch at
/// a time. The gradient of the step is multiplied by `scale`.
class LearnedStepOp final : public ElementwiseOp {
 public:
  LearnedStepOp(std::string_view name, const Tensor& step, int lo, int hi, std::shared_ptr<const BackwardRule> rule,
                double scale);

  std::string_view name() const override { return name_; }
  bool forward(const float* x, float* y, int64_t n) const override;
  double backward(const float* x, const float* dy, float* dx, int64_t n) const override;
  const Tensor& parameter() const override { return step_; }
  Tensor parameter_gradient(double sum) const override;

 private:
  std::string_view name_;
  Tensor step_;
  float used_;  ///< the step as it was in the forward pass
  int lo_, hi_;
  std::shared_ptr<const BackwardRule> rule_;
  double scale_;
};

}  // namespace nibble
