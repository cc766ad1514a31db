#include "quant/folded_conv.h"

#include "layers/weight_init.h"

namespace nibble {

namespace {

void weight_fields(Fields& f, std::string& init, float& std, Config& weight_quant) {
  f.choice("init", init, weight_inits(), "how the weight is drawn");
  f("std", std, "standard deviation, for \"init\": \"normal\"", kNonNegative);
  f.raw("weight_quant", weight_quant, "a quantizer or null", "what the folded weight passes through before it is used");
}

void visit_all(StateVisitor& visitor, Tensor& weight, BatchFold& norm, const WeightSlot& slot) {
  visitor.param("weight", weight, slot.traits(weight));
  norm.visit(visitor);
  slot.visit(visitor);
}

template <class Options>
Json config_of(Options options, const WeightSlot& slot) {
  options.weight_quant = slot.config();
  return write_options(options);
}

/// The folded weight on its grid and the folded bias.
GemmForm gemm_of(const Tensor& weight, const BatchFold& norm, const WeightSlot& slot) {
  const NoRecord guard;
  const Tensor folded = norm.folded(weight), bias = norm.folded_bias();
  GemmForm gemm;
  gemm.weight = slot.apply(folded, {}).detach();
  gemm.weight_grid = slot.grid(folded);
  if (!slot.empty()) gemm.latent = folded.detach();
  gemm.bias.assign(bias.data<float>().begin(), bias.data<float>().end());
  return gemm;
}

ConvGeometry geometry_of(const FoldedConv::Options& o) {
  return {o.stride.h, o.stride.w, o.pad.pixels, o.dilation.h, o.dilation.w, o.groups};
}

}  // namespace

void FoldedConv::Options::fields(Fields& f) {
  f.required()("in", in, "input channels", {1, 1 << 20});
  f.required()("out", out, "output channels", {1, 1 << 20});
  extent_field(f, "kernel", kernel, "extent of the window");
  extent_field(f, "stride", stride, "distance of the windows");
  pad_field(f, "pad", pad, "zero pixels around the image; \"same\" is TensorFlow's SAME, worked out for each input");
  extent_field(f, "dilation", dilation, "distance of the taps");
  f("groups", groups, "blocks of channels that are convolved apart; in = groups is a depthwise convolution",
    {1, 1 << 20});
  norm.fields(f);
  weight_fields(f, init, std, weight_quant);
}

FoldedConv::FoldedConv(const Options& options) : options_(options), norm_(options.norm, options.out) {
  const Options& o = options_;
  NIBBLE_CHECK(o.in > 0 && o.out > 0 && o.groups > 0, "conv2d_bn: channels and groups must be positive, got in ", o.in,
               ", out ", o.out, ", groups ", o.groups);
  NIBBLE_CHECK(o.in % o.groups == 0 && o.out % o.groups == 0,
               "conv2d_bn: groups must divide both channel counts, got in ", o.in, ", out ", o.out, ", groups ",
               o.groups);
  weight_ = new_parameter({o.out, o.in / o.groups, o.kernel.h, o.kernel.w}, "conv2d_bn");
  quantizer_.set(o.weight_quant);
}

Tensor FoldedConv::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const Tensor& x = in[0];
  ConvGeometry geometry = geometry_of(options_);
  geometry.pad = resolve_pad(options_.pad, x.shape(), options_.kernel, options_.stride, options_.dilation);
  const auto product = [&](const Tensor& weight, const Tensor& bias) { return conv2d(x, weight, bias, geometry); };
  const SplitConv split(x, weight_, geometry);
  return norm_.forward(weight_, quantizer_, product, pass, &split);
}

void FoldedConv::visit(StateVisitor& visitor) { visit_all(visitor, weight_, norm_, quantizer_); }

void FoldedConv::initialize(const Rng& rng) {
  draw_weight(weight_, options_.init, options_.std, options_.groups, rng.named("weight"));
  norm_.initialize();
  quantizer_.initialize(rng);
}

Json FoldedConv::config() const { return config_of(options_, quantizer_); }

Facts FoldedConv::facts() const {
  GemmForm gemm = gemm_of(weight_, norm_, quantizer_);
  gemm.geometry = geometry_of(options_);
  gemm.same_padding = options_.pad.same;
  Facts facts;
  facts.gemm = std::move(gemm);
  return facts;
}

void FoldedLinear::Options::fields(Fields& f) {
  f.required()("in", in, "input features", {1, 1 << 28});
  f.required()("out", out, "output features", {1, 1 << 28});
  norm.fields(f);
  weight_fields(f, init, std, weight_quant);
}

FoldedLinear::FoldedLinear(const Options& options) : options_(options), norm_(options.norm, options.out) {
  NIBBLE_CHECK(options.in > 0 && options.out > 0, "linear_bn: features must be positive, got in ", options.in, ", out ",
               options.out);
  weight_ = new_parameter({options.out, options.in}, "linear_bn");
  quantizer_.set(options.weight_quant);
}

Tensor FoldedLinear::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const auto product = [&](const Tensor& weight, const Tensor& bias) { return linear(in[0], weight, bias); };
  return norm_.forward(weight_, quantizer_, product, pass);
}

void FoldedLinear::visit(StateVisitor& visitor) { visit_all(visitor, weight_, norm_, quantizer_); }

void FoldedLinear::initialize(const Rng& rng) {
  draw_weight(weight_, options_.init, options_.std, 1, rng.named("weight"));
  norm_.initialize();
  quantizer_.initialize(rng);
}

Json FoldedLinear::config() const { return config_of(options_, quantizer_); }

Facts FoldedLinear::facts() const {
  Facts facts;
  facts.gemm = gemm_of(weight_, norm_, quantizer_);
  return facts;
}

NIBBLE_REGISTER_LAYER(FoldedConv, "conv2d_bn",
                      "Convolution with the batch norm behind it folded into the weight that is quantized.");
NIBBLE_REGISTER_LAYER(FoldedLinear, "linear_bn",
                      "Fully connected layer with the batch norm behind it folded into the weight that is quantized.");

}  // namespace nibble
