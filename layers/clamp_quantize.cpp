#include "layers/clamp_quantize.h"

#include <cmath>

#include "core/ops.h"
#include "core/ops/clamp_then.h"

namespace nibble {

std::shared_ptr<const ElementwiseOp> ClampQuantize::training_op(const Tensor& x, const Tensor& residual) const {
  if (!quantizer_->follows_range()) return std::as_const(*quantizer_).training_op(x.shape());
  const std::optional<ValueRange> range = clamped_range(x, residual, most_);
  return range ? quantizer_->training_op(x.shape(), *range) : nullptr;
}

Tensor ClampQuantize::forward(Inputs in, const Pass& pass) {
  NIBBLE_CHECK(in.size() == 1 || in.size() == 2, type(), ": expected one or two inputs, got ", in.size());
  const Tensor residual = in.size() == 2 ? in[1] : Tensor();
  if (pass.mode == Mode::train)
    if (const auto op = training_op(in[0], residual)) return clamp_then_train(in[0], residual, most_, op);
  const Tensor sum = residual.defined() ? add(in[0], residual) : in[0];
  const Tensor clamped = std::isinf(most_) ? relu(sum) : relu6(sum);
  return quantizer_->forward({&clamped, 1}, pass);
}

}  // namespace nibble
