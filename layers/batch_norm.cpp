#include "layers/batch_norm.h"

#include <limits>
#include <utility>

#include "core/ops/batch_norm_clamp.h"
#include "layers/weight_init.h"

namespace nibble {

void BatchNorm::Options::fields(Fields& f) {
  f.required()("channels", channels, "extent of the last axis", {1, 1 << 20});
  f("momentum", momentum, "weight of the old value in the running averages (PyTorch's momentum is 1 minus this)",
    kFraction);
  f("epsilon", epsilon, "added to the variance", kPositive);
  f("scale", scale, "learn a factor per channel");
  f("offset", offset, "learn an offset per channel");
}

BatchNorm::BatchNorm(const Options& options) : options_(options) {
  const Shape shape{options.channels};
  if (options.scale) scale_ = new_parameter(shape, "batch_norm");
  if (options.offset) offset_ = new_parameter(shape, "batch_norm");
  state_ = {Tensor::empty(shape), Tensor::empty(shape), options.momentum, options.epsilon};
  initialize(Rng(0));
}

Tensor BatchNorm::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  return pass.mode == Mode::train ? batch_norm_train(in[0], scale_, offset_, state_)
                                  : batch_norm_eval(in[0], scale_, offset_, state_);
}

Tensor BatchNorm::forward_clamped(const Tensor& x, const Tensor& residual, float most,
                                  const std::shared_ptr<const ElementwiseOp>& then) {
  if (then) return batch_norm_clamp_then_train(x, scale_, offset_, state_, residual, most, then);
  return batch_norm_clamp_train(x, scale_, offset_, state_, residual, most);
}

Tensor BatchNorm::evaluate_clamped(const Tensor& x, const Tensor& residual, float most) const {
  return batch_norm_clamp_eval(x, scale_, offset_, state_, residual, most);
}

std::pair<Tensor, Tensor> BatchNorm::forward_clamped_and(const Tensor& x, const Tensor& residual, float most,
                                                         const std::shared_ptr<const ElementwiseOp>& also) {
  return batch_norm_clamp_and_train(x, scale_, offset_, state_, residual, most, also);
}

void BatchNorm::visit(StateVisitor& visitor) {
  if (scale_.defined()) visitor.param("weight", scale_);
  if (offset_.defined()) visitor.param("bias", offset_);
  visitor.buffer("running_mean", state_.mean);
  visitor.buffer("running_var", state_.variance);
}

void BatchNorm::initialize(const Rng&) {
  const Tensor zeros = Tensor::zeros({options_.channels}), ones = Tensor::full({options_.channels}, 1);
  if (scale_.defined()) scale_.copy_from(ones);
  if (offset_.defined()) offset_.copy_from(zeros);
  state_.mean.copy_from(zeros);
  state_.variance.copy_from(ones);
}

Facts BatchNorm::facts() const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  ChannelAffine affine = batch_norm_affine(scale_, offset_, state_);
  Facts facts;
  facts.pointwise = AffineClamp{std::move(affine.a), std::move(affine.b), {-kInfinity}, {kInfinity}};
  return facts;
}

NIBBLE_REGISTER_LAYER(BatchNorm, "batch_norm", "Batch normalisation of the channels.");

}  // namespace nibble
