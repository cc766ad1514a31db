#include "quant/binaryconnect.h"

#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/sign_weights.h"
#include "quant/surrogate.h"

namespace nibble {

void BinaryConnect::Options::fields(Fields& f) {
  f.choice("role", role, {"weight"}, "what is quantized; a rule fills it in");
  f("bound", bound, "H: the levels are -H and H, and weights are kept between them", {1e-6, 1e6});
  f("stochastic", stochastic, "draw the signs at random in training; evaluation then uses the real weights");
  f.choice("lr_scale", lr_scale, glorot_lr_scales(),
           "factor of the learning rate: sqrt((fan_in + fan_out) / 1.5) as in the released code, its square, which "
           "the paper has for SGD without Adam, or 1 (for fine-tuning)");
  f.raw("backward", backward, "a backward rule", "gradient of the weight; by default \"identity\", the paper's");
}

BinaryConnect::BinaryConnect(const Options& options)
    : options_(options),
      bound_(static_cast<float>(options.bound)),
      rule_(make_backward_rule(options.backward, "identity")) {}

Grid BinaryConnect::grid(const Tensor&) const {
  if (options_.stochastic) return Real{};
  return sign_grid({bound_});
}

Tensor BinaryConnect::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  if (!options_.stochastic) return record_sign(type(), in[0], bound_, rule_);
  if (pass.mode == Mode::eval) {
    check_finite(type(), in[0]);
    return in[0];
  }
  NIBBLE_CHECK(pass.rng != nullptr, type(), ": stochastic training needs a random generator, and this pass has none");
  return record_sign(type(), in[0], bound_, rule_, pass.rng);
}

float BinaryConnect::lr_factor(const Tensor& weight) const { return glorot_lr_factor(options_.lr_scale, weight); }

void BinaryConnect::constrain(const Tensor& weight) { clamp_in_place(weight, bound_); }

Surrogate BinaryConnect::surrogate(const Tensor&) const { return rule_surrogate(rule_, sign_grid({bound_})); }

Complaints BinaryConnect::audit_values(const Tensor& w) const {
  // The stochastic variant evaluates with the real weights.
  return options_.stochastic ? Complaints{} : levels_promise(w, 1, false);
}

NIBBLE_REGISTER_LAYER(BinaryConnect, "binaryconnect",
                      "BinaryConnect: weights of -H or H, by sign or at random, and clamped to that range.");

}  // namespace nibble
