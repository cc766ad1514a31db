#include "quant/learned_step_op.h"

#include <limits>

#include "core/kernels/elementwise/dispatch.h"
#include "quant/step_gradient.h"

namespace nibble {

LearnedStepOp::LearnedStepOp(std::string_view name, const Tensor& step, int lo, int hi,
                             std::shared_ptr<const BackwardRule> rule, double scale)
    : name_(name), step_(step), used_(step.item()), lo_(lo), hi_(hi), rule_(std::move(rule)), scale_(scale) {}

bool LearnedStepOp::forward(const float* x, float* y, int64_t n) const {
  const elementwise::Kernels& kernels = elementwise::kernels();
  if (!kernels.within(x, std::numeric_limits<float>::max(), n)) return false;
  kernels.snap(x, {used_, 0, static_cast<float>(lo_), static_cast<float>(hi_)}, y, n);
  return true;
}

double LearnedStepOp::backward(const float* x, const float* dy, float* dx, int64_t n) const {
  return step_gradient_of(x, dy, dx, n, used_, lo_, hi_, *rule_);
}

Tensor LearnedStepOp::parameter_gradient(double sum) const { return Tensor::of({static_cast<float>(sum * scale_)}); }

}  // namespace nibble
