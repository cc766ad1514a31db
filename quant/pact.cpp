#include "quant/pact.h"

#include <cmath>

#include "quant/blocks.h"
#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/surrogate.h"
#include "quant/unit_range.h"

namespace nibble {

namespace {

constexpr float kSmallestAlpha = 1e-3f, kLargestAlpha = 1e30f;

struct Moments {
  double squares = 0;
  float highest = 0;
  void operator+=(const Moments& other) {
    squares += other.squares;
    highest = std::max(highest, other.highest);
  }
};

}  // namespace

void Pact::Options::fields(Fields& f) {
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in; weights are those of dorefa");
  f("bits", bits, "width of the codes", {1, 8});
  f("alpha", alpha, "activations: initial clipping level; 0 takes it from the first training tensor", {0, 1e6});
  f.raw("backward", backward, "a backward rule",
        "by default \"pact\", the paper's eq. 3, and for weights that of dorefa");
}

Pact::Pact(const Options& options) : options_(options) {
  if (options.role == "weight") {
    Dorefa::Options weights;
    weights.role = "weight";
    weights.bits = options.bits;
    weights.backward = options.backward;
    weights_ = std::make_shared<Dorefa>(weights);
    return;
  }
  rule_ = make_backward_rule(options.backward, "pact");
  used_ = options.alpha > 0 ? std::max(static_cast<float>(options.alpha), kSmallestAlpha) : 10.0f;
  alpha_ = Tensor::of({used_}).set_requires_grad();
  const int64_t state[] = {options.alpha > 0, 0};
  state_ = Tensor::from<int64_t>({2}, state);
}

Grid Pact::grid(const Tensor& x) const {
  return weights_ ? weights_->grid(x) : unit_grid(alpha_.item(), options_.bits);
}

void Pact::initialize_alpha(const Tensor& x) {
  const float* values = x.data<float>().data();
  const auto found = Blocks(x.numel(), 1).sum<Moments>([=](const Block& b) {
    Moments m;
    for (int64_t i = b.begin; i < b.begin + b.count; ++i) {
      m.squares += static_cast<double>(values[i]) * values[i];
      m.highest = std::max(m.highest, values[i]);
    }
    return m;
  });
  const double root = std::sqrt(found[0].squares / static_cast<double>(std::max<int64_t>(1, x.numel())));
  const auto alpha = static_cast<float>(std::min<double>(4 * root, found[0].highest));
  alpha_.mutable_data<float>()[0] = std::min(std::max(alpha, kSmallestAlpha), kLargestAlpha);
  state_.mutable_data<int64_t>()[0] = 1;
}

Tensor Pact::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  if (weights_) return weights_->forward(in, pass);
  const Tensor& x = in[0];
  if (pass.mode == Mode::train) {
    if (state_.data<int64_t>()[0] == 0) {
      check_finite(type(), x);
      initialize_alpha(x);
    }
    used_ = alpha_.item();
  }
  return record("pact", snap_finite(type(), x, grid()), {x, alpha_},
                [x, alpha = alpha_.item(), bits = options_.bits, rule = rule_](const Tensor& dy) -> Grads {
                  const UnitGradients g = unit_gradients(x, dy, alpha, bits, *rule);
                  return {g.dx, Tensor::of({static_cast<float>(g.drange)})};
                });
}

Claims Pact::claims() const { return weights_ ? weights_->claims() : Claims{.scale_equivariant = options_.alpha == 0}; }

Surrogate Pact::surrogate(const Tensor& x) const {
  return weights_ ? weights_->surrogate(x) : rule_surrogate(rule_, grid());
}

void Pact::visit(StateVisitor& visitor) {
  if (weights_) return;
  visitor.param("alpha", alpha_);
  visitor.buffer("state", state_);
}

void Pact::after_update() {
  if (weights_) return;
  float& alpha = alpha_.mutable_data<float>()[0];
  if (alpha >= kSmallestAlpha && alpha <= kLargestAlpha) return;
  alpha = std::isfinite(alpha) ? std::min(std::max(alpha, kSmallestAlpha), kLargestAlpha) : used_;
  ++state_.mutable_data<int64_t>()[1];
}

Complaints Pact::audit_values(const Tensor& w) const { return weights_ ? weights_->audit_values(w) : Complaints{}; }

Complaints Pact::audit_state(const Tensor& w) const {
  if (weights_) return weights_->audit_state(w);
  Complaints wrong = positive_promise("alpha", alpha_);
  std::ranges::copy(started_promise(state_.data<int64_t>()[0] != 0), std::back_inserter(wrong));
  return wrong;
}

NIBBLE_REGISTER_LAYER(Pact, "pact", "PACT: activations clipped at a learned level, 1 to 8 bits; weights as dorefa.");

}  // namespace nibble
