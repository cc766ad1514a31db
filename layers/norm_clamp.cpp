#include "layers/norm_clamp.h"

namespace nibble {

Tensor NormClamp::forward(Inputs in, const Pass& pass) {
  NIBBLE_CHECK(in.size() == 1 || in.size() == 2, "norm_clamp: expected one or two inputs, got ", in.size());
  const Tensor residual = in.size() == 2 ? in[1] : Tensor();
  if (pass.mode == Mode::train) return norm_->forward_clamped(in[0], residual, most_);
  Tensor y = norm_->forward(in.first(1), pass);
  if (residual.defined()) y = add(y, residual);
  return clamp_->forward({&y, 1}, pass);
}

}  // namespace nibble
