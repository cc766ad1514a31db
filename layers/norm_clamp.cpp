#include "layers/norm_clamp.h"

namespace nibble {

Tensor NormClamp::forward(Inputs in, const Pass& pass) {
  NIBBLE_CHECK(in.size() == 1 || in.size() == 2, type(), ": expected one or two inputs, got ", in.size());
  if (!quantizer_) return clamped(in, pass);
  if (pass.mode == Mode::train)
    if (const auto op = quantizer_->training_op(in[0].shape()))
      return norm_->forward_clamped(in[0], in.size() == 2 ? in[1] : Tensor(), most_, op);
  const Tensor y = clamped(in, pass);
  return quantizer_->forward({&y, 1}, pass);
}

Tensor NormClamp::clamped(Inputs in, const Pass& pass) {
  const Tensor residual = in.size() == 2 ? in[1] : Tensor();
  if (pass.mode == Mode::train) return norm_->forward_clamped(in[0], residual, most_);
  Tensor y = norm_->forward(in.first(1), pass);
  if (residual.defined()) y = add(y, residual);
  return clamp_->forward({&y, 1}, pass);
}

void NormClamp::visit(StateVisitor& visitor) {
  norm_->visit(visitor);
  if (quantizer_) visitor.child("quantizer", *quantizer_);
}

}  // namespace nibble
