#include "quant/xnor.h"

#include "quant/sign_weights.h"

namespace nibble {

void Xnor::Options::fields(Fields& f) {
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  weight_fields(f);
  f.raw("backward", backward, "a backward rule",
        "derivative of the sign; by default the paper's: \"hard_tanh\" for activations, for weights that of bwn");
}

Xnor::Xnor(const Options& options) : options_(options) {
  if (options.role == "weight")
    weights_ = std::make_shared<Bwn>(options);
  else
    rule_ = make_backward_rule(options.backward, "hard_tanh");
}

Grid Xnor::grid(const Tensor& x) const { return weights_ ? weights_->grid(x) : sign_grid({1.0f}); }

Tensor Xnor::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  return weights_ ? weights_->forward(in, pass) : record_sign(type(), in[0], 1.0f, rule_);
}

void Xnor::constrain(const Tensor& weight) {
  if (weights_) weights_->constrain(weight);
}

NIBBLE_REGISTER_LAYER(Xnor, "xnor", "XNOR-Net: activations by their sign, weights of -alpha or alpha per filter.");

}  // namespace nibble
