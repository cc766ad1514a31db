#include "quant/bnn.h"

#include "quant/promises.h"
#include "quant/sign_weights.h"
#include "quant/surrogate.h"

namespace nibble {

void Bnn::Options::fields(Fields& f) {
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  f("stochastic", stochastic, "draw the signs of activations at random in training (the released code does not)");
  f.choice(
      "lr_scale", lr_scale, glorot_lr_scales(),
      "weights: factor of the learning rate: sqrt((fan_in + fan_out) / 1.5) as in the released code, its square, which "
      "the paper has for SGD without Adam, or 1 (for fine-tuning)");
  f.raw("backward", backward, "a backward rule",
        "gradient of the input; by default the paper's: \"hard_tanh\" for activations, \"identity\" for weights");
}

Bnn::Bnn(const Options& options)
    : options_(options),
      rule_(make_backward_rule(options.backward, options.role == "weight" ? "identity" : "hard_tanh")) {
  NIBBLE_CHECK(!(options.stochastic && options.role == "weight"),
               "bnn: only activations can be stochastic; \"binaryconnect\" has stochastic weights");
}

Grid Bnn::grid(const Tensor&) const { return sign_grid({1.0f}); }

Tensor Bnn::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const bool draws = options_.stochastic && pass.mode == Mode::train;
  NIBBLE_CHECK(!draws || pass.rng != nullptr,
               "bnn: stochastic training needs a random generator, and this pass has none");
  return record_sign(type(), in[0], 1.0f, rule_, draws ? pass.rng : nullptr);
}

float Bnn::lr_factor(const Tensor& weight) const { return glorot_lr_factor(options_.lr_scale, weight); }

void Bnn::constrain(const Tensor& weight) { clamp_in_place(weight, 1.0f); }

Surrogate Bnn::surrogate(const Tensor&) const { return rule_surrogate(rule_, grid()); }

Complaints Bnn::audit_values(const Tensor& w) const { return levels_promise(w, 1, false); }

NIBBLE_REGISTER_LAYER(Bnn, "bnn", "Binarized neural networks: weights or activations of -1 or 1 by their sign.");

}  // namespace nibble
