#include "layers/conv2d.h"

#include "layers/weight_init.h"

namespace nibble {

void Conv2d::Options::fields(Fields& f) {
  f.required()("in", in, "input channels", {1, 1 << 20});
  f.required()("out", out, "output channels", {1, 1 << 20});
  extent_field(f, "kernel", kernel, "extent of the window");
  extent_field(f, "stride", stride, "distance of the windows");
  pad_field(f, "pad", pad, "zero pixels around the image; \"same\" is TensorFlow's SAME, worked out for each input");
  extent_field(f, "dilation", dilation, "distance of the taps");
  f("groups", groups, "blocks of channels that are convolved apart; in = groups is a depthwise convolution",
    {1, 1 << 20});
  f("bias", bias, "add a bias; superfluous before a batch_norm");
  f.choice("init", init, weight_inits(), "how the weight is drawn; the bias starts at 0");
  f("std", std, "standard deviation, for \"init\": \"normal\"", kNonNegative);
  f.raw("weight_quant", weight_quant, "a quantizer or null", "what the weight passes through before it is used");
}

Conv2d::Conv2d(const Options& options) : options_(options) {
  const Options& o = options_;
  NIBBLE_CHECK(o.in > 0 && o.out > 0 && o.groups > 0, "conv2d: channels and groups must be positive, got in ", o.in,
               ", out ", o.out, ", groups ", o.groups);
  NIBBLE_CHECK(o.in % o.groups == 0 && o.out % o.groups == 0, "conv2d: groups must divide both channel counts, got in ",
               o.in, ", out ", o.out, ", groups ", o.groups);
  geometry_ = {o.stride.h, o.stride.w, o.pad.pixels, o.dilation.h, o.dilation.w, o.groups};
  weight_ = new_parameter({o.out, o.in / o.groups, o.kernel.h, o.kernel.w}, "conv2d");
  if (o.bias) bias_ = new_parameter({o.out}, "conv2d");
  quantizer_.set(o.weight_quant);
}

Tensor Conv2d::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  ConvGeometry geometry = geometry_;
  geometry.pad = resolve_pad(options_.pad, in[0].shape(), options_.kernel, options_.stride, options_.dilation);
  return conv2d(in[0], quantizer_.apply(weight_, pass), bias_, geometry);
}

void Conv2d::visit(StateVisitor& visitor) {
  visitor.param("weight", weight_, quantizer_.traits(weight_));
  if (bias_.defined()) visitor.param("bias", bias_);
  quantizer_.visit(visitor);
}

void Conv2d::initialize(const Rng& rng) {
  draw_weight(weight_, options_.init, options_.std, options_.groups, rng.named("weight"));
  if (bias_.defined()) bias_.copy_from(Tensor::zeros_like(bias_));
  quantizer_.initialize(rng);
}

Json Conv2d::config() const {
  Options options = options_;
  options.weight_quant = quantizer_.config();
  return write_options(options);
}

Facts Conv2d::facts() const {
  const NoRecord guard;
  GemmForm gemm;
  gemm.weight = quantizer_.apply(weight_, {}).detach();
  gemm.weight_grid = quantizer_.grid(weight_);
  if (!quantizer_.empty()) gemm.latent = weight_.detach();
  if (bias_.defined()) gemm.bias.assign(bias_.data<float>().begin(), bias_.data<float>().end());
  gemm.geometry = geometry_;
  gemm.same_padding = options_.pad.same;
  Facts facts;
  facts.gemm = std::move(gemm);
  return facts;
}

NIBBLE_REGISTER_LAYER(Conv2d, "conv2d", "Two-dimensional convolution.");

}  // namespace nibble
