#include "layers/batch_norm.h"

#include <cmath>
#include <limits>

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
  AffineClamp form{{}, {}, {-kInfinity}, {kInfinity}};
  for (size_t c = 0; c < static_cast<size_t>(options_.channels); ++c) {
    const double gamma = scale_.defined() ? scale_.data<float>()[c] : 1;
    const double beta = offset_.defined() ? offset_.data<float>()[c] : 0;
    const double mean = state_.mean.data<float>()[c], variance = state_.variance.data<float>()[c];
    const double a = gamma / std::sqrt(variance + options_.epsilon);
    form.a.push_back(static_cast<float>(a));
    form.b.push_back(static_cast<float>(beta - mean * a));
  }
  Facts facts;
  facts.pointwise = std::move(form);
  return facts;
}

NIBBLE_REGISTER_LAYER(BatchNorm, "batch_norm", "Batch normalisation of the channels.");

}  // namespace nibble
