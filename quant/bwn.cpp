#include "quant/bwn.h"

#include "quant/blocks.h"
#include "quant/promises.h"
#include "quant/sign_weights.h"
#include "quant/surrogate.h"

namespace nibble {

namespace {

/// dy * factor * (1/n + alpha[c] * slope): the scale and the sign are both functions of w.
Tensor scaled_gradient(const Tensor& w, const Tensor& dy, const std::vector<float>& alpha, const BackwardRule& rule,
                       double factor) {
  Tensor dw = Tensor::empty_like(w);
  const auto channels = static_cast<int64_t>(alpha.size());
  const auto constant = static_cast<float>(factor * static_cast<double>(channels) / static_cast<double>(w.numel()));
  const auto u = w.data<float>(), g = dy.data<float>();
  const auto to = dw.mutable_data<float>();
  Blocks(w.numel(), channels).each([&](const Block& b) {
    const auto begin = static_cast<size_t>(b.begin), count = static_cast<size_t>(b.count);
    rule.input(u.subspan(begin, count), g.subspan(begin, count), -1, 1, to.subspan(begin, count));
    const auto slope = static_cast<float>(factor * alpha[static_cast<size_t>(b.channel)]);
    const float* from = g.data() + begin;
    float* out = to.data() + begin;
    for (size_t i = 0; i < count; ++i) out[i] = from[i] * constant + out[i] * slope;
  });
  return dw;
}

/// The released code's further factor, meant for SGD.
double code_factor(const Tensor& w, int64_t channels) {
  const double n = static_cast<double>(w.numel()) / static_cast<double>(channels);
  const double inputs = w.rank() > 1 ? static_cast<double>(w.dim(1)) : 1;
  return inputs > 1 ? n * (1 - 1 / inputs) : n;
}

/// Subtracts from every weight the mean over axis 1 at its place.
void center_inputs(const Tensor& w) {
  if (w.rank() < 2 || w.dim(1) < 2 || w.numel() == 0) return;
  const int64_t inputs = w.dim(1), window = w.numel() / (w.dim(0) * inputs);
  float* values = w.mutable_data<float>().data();
  parallel_for(0, w.dim(0), 1, [=](int64_t first, int64_t last) {
    for (int64_t o = first; o < last; ++o) {
      for (int64_t p = 0; p < window; ++p) {
        float* column = values + o * inputs * window + p;
        double sum = 0;
        for (int64_t i = 0; i < inputs; ++i) sum += column[i * window];
        const auto mean = static_cast<float>(sum / static_cast<double>(inputs));
        for (int64_t i = 0; i < inputs; ++i) column[i * window] -= mean;
      }
    }
  });
}

}  // namespace

void Bwn::Options::weight_fields(Fields& f) {
  f("per_channel", per_channel, "weights: one scale per output channel, as in the paper, instead of one per tensor");
  f.choice("gradient", gradient, {"paper", "code", "identity"},
           "weights: the paper's factor 1/n + alpha * rule, the released code's, or the rule alone");
  f("center", center, "weights: subtract the mean over the input channels after every optimizer step");
  f("clamp", clamp, "weights: clamp to [-1, 1] after every optimizer step");
}

void Bwn::Options::fields(Fields& f) {
  f.choice("role", role, {"weight"}, "what is quantized; a rule fills it in");
  weight_fields(f);
  f.raw("backward", backward, "a backward rule",
        "derivative of the sign; by default the paper's, \"lsq\" (passes where |w| < 1), or \"identity\" with that "
        "gradient");
}

Bwn::Bwn(const Options& options)
    : options_(options),
      rule_(make_backward_rule(options.backward, options.gradient == "identity" ? "identity" : "lsq")) {}

std::vector<float> Bwn::scales(const Tensor& w) const {
  return sign_scales("binary weights", w, options_.per_channel ? w.dim(0) : 1);
}

Grid Bwn::grid(const Tensor& x) const {
  if (!x.defined()) return Real{};
  return sign_grid(scales(x));
}

Tensor Bwn::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  const Tensor& w = in[0];
  const std::vector<float> alpha = scales(w);
  const double factor = options_.gradient == "code" ? code_factor(w, static_cast<int64_t>(alpha.size())) : 1;
  const bool plain = options_.gradient == "identity";
  return record("bwn", scaled_sign(w, alpha), {w}, [=, rule = rule_](const Tensor& dy) -> Grads {
    return {plain ? sign_gradient(w, dy, alpha, *rule) : scaled_gradient(w, dy, alpha, *rule, factor)};
  });
}

void Bwn::constrain(const Tensor& weight) {
  if (options_.center) center_inputs(weight);
  if (options_.clamp) clamp_in_place(weight, 1.0f);
}

Surrogate Bwn::surrogate(const Tensor& x) const {
  if (options_.gradient == "identity") return rule_surrogate(rule_, grid(x));
  const std::vector<float> alpha = scales(x);
  const double n = static_cast<double>(x.numel()) / static_cast<double>(alpha.size());
  const double factor = options_.gradient == "code" ? code_factor(x, static_cast<int64_t>(alpha.size())) : 1;
  return elementwise(alpha.size(), [=, rule = rule_](size_t c, double w) {
    return factor * (w / n + static_cast<double>(alpha[c]) * rule->surrogate(w, -1, 1));
  });
}

Complaints Bwn::audit_values(const Tensor& w) const {
  return levels_promise(w, options_.per_channel ? w.dim(0) : 1, false);
}

NIBBLE_REGISTER_LAYER(Bwn, "bwn", "Binary-weight networks: -alpha or alpha, the mean magnitude of each filter.");

}  // namespace nibble
