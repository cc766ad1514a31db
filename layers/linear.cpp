#include "layers/linear.h"

#include "layers/weight_init.h"

namespace nibble {

void Linear::Options::fields(Fields& f) {
  f.required()("in", in, "input features", {1, 1 << 28});
  f.required()("out", out, "output features", {1, 1 << 28});
  f("bias", bias, "add a bias");
  f.choice("init", init, weight_inits(), "how the weight is drawn; the bias starts at 0");
  f("std", std, "standard deviation, for \"init\": \"normal\"", kNonNegative);
  f.raw("weight_quant", weight_quant, "a quantizer or null", "what the weight passes through before it is used");
}

Linear::Linear(const Options& options) : options_(options) {
  NIBBLE_CHECK(options.in > 0 && options.out > 0, "linear: features must be positive, got in ", options.in, ", out ",
               options.out);
  weight_ = new_parameter({options.out, options.in}, "linear");
  if (options.bias) bias_ = new_parameter({options.out}, "linear");
  quantizer_.set(options.weight_quant);
}

Tensor Linear::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  return linear(in[0], quantizer_.apply(weight_, pass), bias_);
}

void Linear::visit(StateVisitor& visitor) {
  visitor.param("weight", weight_, quantizer_.traits(weight_));
  if (bias_.defined()) visitor.param("bias", bias_);
  quantizer_.visit(visitor);
}

void Linear::initialize(const Rng& rng) {
  draw_weight(weight_, options_.init, options_.std, 1, rng.named("weight"));
  if (bias_.defined()) bias_.copy_from(Tensor::zeros_like(bias_));
  quantizer_.initialize(rng);
}

Json Linear::config() const {
  Options options = options_;
  options.weight_quant = quantizer_.config();
  return write_options(options);
}

Facts Linear::facts() const {
  const NoRecord guard;
  GemmForm gemm;
  gemm.weight = quantizer_.apply(weight_, {}).detach();
  gemm.weight_grid = quantizer_.grid(weight_);
  if (!quantizer_.empty()) gemm.latent = weight_.detach();
  if (bias_.defined()) gemm.bias.assign(bias_.data<float>().begin(), bias_.data<float>().end());
  Facts facts;
  facts.gemm = std::move(gemm);
  return facts;
}

NIBBLE_REGISTER_LAYER(Linear, "linear", "Fully connected layer.");

}  // namespace nibble
