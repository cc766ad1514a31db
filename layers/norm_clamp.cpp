#include "layers/norm_clamp.h"

namespace nibble {

Tensor NormClamp::forward(Inputs in, const Pass& pass) {
  NIBBLE_CHECK(in.size() == 1 || in.size() == 2, type(), ": expected one or two inputs, got ", in.size());
  const Tensor residual = in.size() == 2 ? in[1] : Tensor();
  if (pass.mode == Mode::train) return train(in[0], residual, pass);
  const Tensor y = norm_->evaluate_clamped(in[0], residual, most_);
  return quantizer_ ? quantizer_->forward({&y, 1}, pass) : y;
}

Tensor NormClamp::train(const Tensor& x, const Tensor& residual, const Pass& pass) {
  if (quantizer_)
    if (const auto op = quantizer_->training_op(x.shape())) return norm_->forward_clamped(x, residual, most_, op);
  if (ahead_)
    if (const auto op = ahead_->quantizer().training_op(x.shape())) {
      const auto [y, quantized] = norm_->forward_clamped_and(x, residual, most_, op);
      ahead_->leave(y, quantized);
      return y;
    }
  const Tensor y = norm_->forward_clamped(x, residual, most_);
  return quantizer_ ? quantizer_->forward({&y, 1}, pass) : y;
}

void NormClamp::visit(StateVisitor& visitor) {
  norm_->visit(visitor);
  if (quantizer_) visitor.child("quantizer", *quantizer_);
}

}  // namespace nibble
