#include "quant/xnor.h"

#include "quant/sign_weights.h"
#include "quant/surrogate.h"
#include "quant/xnor_scale.h"

namespace nibble {

void Xnor::Options::fields(Fields& f) {
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  weight_fields(f);
  f("use_k", use_k,
    "activations: scale the output of the layer that reads them by the local magnitude of its input, the paper's K, "
    "which the released code leaves out");
  f.raw("backward", backward, "a backward rule",
        "derivative of the sign; by default the paper's: \"hard_tanh\" for activations, for weights that of bwn");
}

Xnor::Xnor(const Options& options) : options_(options) {
  if (options.role == "weight")
    weights_ = std::make_shared<Bwn>(options);
  else
    rule_ = make_backward_rule(options.backward, "hard_tanh");
  NIBBLE_CHECK(!options.use_k || options.role == "act", "xnor: use_k belongs to the activations, not the weights");
}

Grid Xnor::grid(const Tensor& x) const { return weights_ ? weights_->grid(x) : sign_grid({1.0f}); }

Tensor Xnor::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  return weights_ ? weights_->forward(in, pass) : record_sign(type(), in[0], 1.0f, rule_);
}

void Xnor::constrain(const Tensor& weight) {
  if (weights_) weights_->constrain(weight);
}

std::shared_ptr<Layer> Xnor::output_scale(const GemmForm& gemm) const {
  if (!options_.use_k) return nullptr;
  const Tensor& w = gemm.weight;
  NIBBLE_CHECK(w.defined(), "xnor: use_k scales the output of the layer that reads the signs, and here there is none");
  NIBBLE_CHECK(gemm.bias.empty(), "xnor: use_k needs a layer without bias, which K would scale, too");
  NIBBLE_CHECK(gemm.geometry.groups == 1, "xnor: use_k needs a convolution of 1 group, got ", gemm.geometry.groups);
  XnorScale::Options options;
  if (w.rank() == 4) {
    const ConvGeometry& g = gemm.geometry;
    options.kernel = {static_cast<int>(w.dim(2)), static_cast<int>(w.dim(3))};
    options.stride = {g.stride_h, g.stride_w};
    options.pad = {g.pad, gemm.same_padding};
    options.dilation = {g.dilation_h, g.dilation_w};
  }
  return std::make_shared<XnorScale>(options);
}

Surrogate Xnor::surrogate(const Tensor& x) const {
  return weights_ ? weights_->surrogate(x) : rule_surrogate(rule_, grid());
}

Complaints Xnor::audit_values(const Tensor& w) const { return weights_ ? weights_->audit_values(w) : Complaints{}; }

NIBBLE_REGISTER_LAYER(Xnor, "xnor", "XNOR-Net: activations by their sign, weights of -alpha or alpha per filter.");

}  // namespace nibble
