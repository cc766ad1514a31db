#include "apps/class_loss.h"

#include "core/ops.h"
#include "core/ops/squared_hinge.h"

namespace nibble {

ClassLoss::ClassLoss(const LossOptions& options)
    : hinge_(options.function == "squared_hinge"), label_smoothing_(static_cast<float>(options.label_smoothing)) {
  if (hinge_ && label_smoothing_ > 0)
    throw UsageError(concat_text("config: at /loss/label_smoothing: found ", options.label_smoothing,
                                 ", but \"squared_hinge\" has no target to spread; leave it at 0"));
}

Tensor ClassLoss::operator()(const Tensor& scores, const Tensor& labels) const {
  return hinge_ ? squared_hinge(scores, labels) : softmax_cross_entropy(scores, labels, label_smoothing_);
}

}  // namespace nibble
